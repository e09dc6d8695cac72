#pragma once
#include <string>

#include "autograd/base/descriptor.h"

namespace shoal {

// How a run opens what it keeps in its folder. That folder may have come from somebody else, and a
// link in it may name any file of ours: so nothing is written through one. The path up to the last
// name is the user's own and may hold links.
enum class Write { kNew, kAppend, kTruncate };  // kNew: nothing may be there

// For reading, and for writing at the end. Error(kDisk) for a link, whatever it means, for what is
// no regular file, and for a file with a second name (a hard link), which would change under both.
Descriptor open_to_write(const std::string& path, Write how);
// A folder that may be there already. Error(kDisk) where it is a link or something else.
void make_folder(const std::string& path);

}  // namespace shoal
