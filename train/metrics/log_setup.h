#pragma once
#include <string>
#include <string_view>

#include "autograd/base/printable.h"

namespace shoal {

// The program's log is spdlog's default logger: spdlog::info(...) and the like from anywhere. The
// console shows plain text ("warning: ..."), log.txt every level with time. Control characters
// are escaped in both (line feeds and tabs stay); a string from a file that stands inside a
// message goes through printable() where it enters, so that it cannot add a line.

// verbosity: 1 (-v) debug, 0 info, -1 (-q) warnings only and no progress, -2 (-qq) errors only.
void set_up_log(int verbosity);

// From now on messages also go to the end of this file. Throws Error(kDisk).
void open_log_file(const std::string& path);
void close_log_file();

// A line for the file alone: what the console shows in its own way.
void log_to_file(std::string_view line);

}  // namespace shoal
