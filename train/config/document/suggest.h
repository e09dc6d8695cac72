#pragma once
#include <optional>
#include <string>
#include <vector>

namespace shoal {

// Letters to insert, delete, replace or swap with their neighbour to get from a to b; more than
// `limit` is limit + 1.
int edit_distance(const std::string& a, const std::string& b, int limit);

// The known word that was probably meant: one that begins so, or else the nearest, if no more than
// a third of it is wrong.
std::optional<std::string> suggest(const std::string& word, const std::vector<std::string>& known);

}  // namespace shoal
