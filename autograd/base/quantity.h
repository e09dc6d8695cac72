#pragma once
#include <cstdint>
#include <string>

namespace shoal {

// Numbers for people: short, and of steady width while they change little.
std::string format_duration(double seconds);   // 0:12:01, 3d 04:05:06; "-" if unknown
std::string format_step_time(double seconds);  // 812 ms, 12.3 s
std::string format_count(double count);        // 999, 41.2k, 1.50M, 20.0G
std::string format_scientific(double value);   // 3.0e-4
std::string format_share(double share);        // 61.3 %, 0.0031 %
std::string format_short(double value,
                         int digits = 4);  // that many digits at most: 0.5, 1.234, 2e-6

}  // namespace shoal
