#pragma once
#include <cstdint>
#include <string>

namespace shoal {

// The processor's name as it gives it, "Intel(R) Xeon(R) Processor @ 2.10GHz"; "unknown".
std::string cpu_model();
// The most memory that this process has had in RAM so far, in bytes; 0 where the system does not
// say.
std::int64_t peak_resident_bytes();

// The value of a line "name : value" in a text such as /proc/cpuinfo; "".
std::string value_of(const std::string& text, const std::string& name);

}  // namespace shoal
