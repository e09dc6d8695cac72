#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace shoal {

// The schema table as people and editors read it.
std::string schema_table();            // `config schema`: a line or two per key
nlohmann::ordered_json schema_json();  // `config schema --json`: JSON Schema, draft 2020-12
std::string schema_markdown();         // docs/config.md

}  // namespace shoal
