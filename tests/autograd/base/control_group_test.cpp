#include "autograd/base/control_group.h"

#include <gtest/gtest.h>

#include "tests/support/temporary_folder.h"

namespace shoal {
namespace {

const std::string kGroup = "sys/fs/cgroup/";

TEST(ControlGroup, WithoutFilesThereIsNoLimit) {
  const TemporaryFolder root;
  const ControlGroup found = read_control_group(root.path());
  EXPECT_FALSE(found.cores);
  EXPECT_FALSE(found.memory);
}

TEST(ControlGroup, MaxIsNoLimit) {
  const TemporaryFolder root;
  root.write("proc/self/cgroup", "0::/\n");
  root.write(kGroup + "cpu.max", "max 100000\n");
  root.write(kGroup + "memory.max", "max\n");
  root.write(kGroup + "memory.current", "123\n");
  const ControlGroup found = read_control_group(root.path());
  EXPECT_FALSE(found.cores);
  EXPECT_FALSE(found.memory);
}

TEST(ControlGroup, PageCacheThatCanBeGivenBackIsFree) {
  const TemporaryFolder root;
  root.write("proc/self/cgroup", "0::/\n");
  root.write(kGroup + "memory.max", "8000000000\n");
  root.write(kGroup + "memory.current", "7999000000\n");
  root.write(kGroup + "memory.stat",
             "anon 1000\nfile 7950000000\nshmem 50000000\ninactive_file 7000000000\n"
             "active_file 900000000\nslab_reclaimable 10000000\nslab_unreclaimable 5\n");
  EXPECT_EQ(read_control_group(root.path()).memory, 8000000000U - (7999000000U - 7910000000U));
}

// A container whose own group is the root of what it sees, though /proc names the host's path.
TEST(ControlGroup, APathThatIsNotToBeSeenIsReadAtTheRoot) {
  const TemporaryFolder root;
  root.write("proc/self/cgroup", "0::/system.slice/docker-42.scope\n");
  root.write(kGroup + "cpu.max", "150000 100000\n");
  root.write(kGroup + "memory.max", "1000000\n");
  root.write(kGroup + "memory.current", "400000\n");
  const ControlGroup found = read_control_group(root.path());
  EXPECT_EQ(found.cores, 1.5);
  EXPECT_EQ(found.memory, 600000U);
}

TEST(ControlGroup, TheTightestOfItsOwnAndThoseAroundItCounts) {
  const TemporaryFolder root;
  root.write("proc/self/cgroup", "0::/batch/job_7/step_0\n");
  root.write(kGroup + "batch/cpu.max", "800000 100000\n");
  root.write(kGroup + "batch/job_7/cpu.max", "200000 100000\n");
  root.write(kGroup + "batch/job_7/step_0/cpu.max", "max 100000\n");
  root.write(kGroup + "batch/memory.max", "5000\n");
  root.write(kGroup + "batch/memory.current", "4000\n");
  root.write(kGroup + "batch/job_7/memory.max", "9000\n");
  root.write(kGroup + "batch/job_7/memory.current", "1000\n");
  root.write(kGroup + "batch/other/memory.max", "10\n");  // of somebody else
  root.write(kGroup + "batch/other/cpu.max", "1000 100000\n");
  const ControlGroup found = read_control_group(root.path());
  EXPECT_EQ(found.cores, 2.0);
  EXPECT_EQ(found.memory, 1000U);
}

TEST(ControlGroup, HighIsALimitLikeMax) {
  const TemporaryFolder root;
  root.write(kGroup + "memory.max", "max\n");
  root.write(kGroup + "memory.high", "3000\n");
  root.write(kGroup + "memory.current", "1000\n");
  EXPECT_EQ(read_control_group(root.path()).memory, 2000U);
}

TEST(ControlGroup, MoreThanTheLimitInUseLeavesNothing) {
  const TemporaryFolder root;
  root.write(kGroup + "memory.max", "1000\n");
  root.write(kGroup + "memory.current", "3000\n");
  EXPECT_EQ(read_control_group(root.path()).memory, 0U);
}

TEST(ControlGroup, Version1IsRead) {
  const TemporaryFolder root;
  root.write("proc/self/cgroup", "5:memory:/slurm/job_1\n4:cpu,cpuacct:/slurm/job_1\n0::/\n");
  root.write(kGroup + "memory/memory.limit_in_bytes", "9223372036854771712\n");
  root.write(kGroup + "memory/slurm/job_1/memory.limit_in_bytes", "4000000\n");
  root.write(kGroup + "memory/slurm/job_1/memory.usage_in_bytes", "3900000\n");
  root.write(kGroup + "memory/slurm/job_1/memory.stat",
             "inactive_file 1\ntotal_inactive_file 2000000\ntotal_active_file 500000\n");
  root.write(kGroup + "cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  root.write(kGroup + "cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  root.write(kGroup + "cpu,cpuacct/slurm/job_1/cpu.cfs_quota_us", "50000\n");
  root.write(kGroup + "cpu,cpuacct/slurm/job_1/cpu.cfs_period_us", "100000\n");
  const ControlGroup found = read_control_group(root.path());
  EXPECT_EQ(found.cores, 0.5);
  EXPECT_EQ(found.memory, 2600000U);
}

TEST(ControlGroup, Version1WithoutALimitIsNone) {
  const TemporaryFolder root;
  root.write("proc/self/cgroup", "5:memory:/\n");
  root.write(kGroup + "memory/memory.limit_in_bytes", "9223372036854771712\n");
  root.write(kGroup + "memory/memory.usage_in_bytes", "5\n");
  EXPECT_FALSE(read_control_group(root.path()).memory);
}

TEST(ControlGroup, NonsenseIsNoLimit) {
  const TemporaryFolder root;
  root.write("proc/self/cgroup", "nonsense\n:\n::::\n");
  root.write(kGroup + "cpu.max", "lots of it\n");
  root.write(kGroup + "memory.max", "-5\n");
  const ControlGroup found = read_control_group(root.path());
  EXPECT_FALSE(found.cores);
  EXPECT_FALSE(found.memory);
}

}  // namespace
}  // namespace shoal
