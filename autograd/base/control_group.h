#pragma once
#include <cstddef>
#include <optional>
#include <string>

namespace shoal {

// What the control groups (cgroups) of this process leave it: those of a container, a batch system
// or systemd. Its own group and all groups around it count, the tightest one wins. Versions 1 and
// 2; a container that sees its own group as the root of /sys/fs/cgroup is read likewise.
struct ControlGroup {
  std::optional<double> cores;  // CPU time it may use in a second; none: no quota
  // Bytes it may still take. Page cache that the kernel gives back on demand is free.
  std::optional<std::size_t> memory;
};

// `root` stands for "/" in tests: files are sought in root/proc/self and root/sys/fs/cgroup.
ControlGroup read_control_group(const std::string& root = "");

}  // namespace shoal
