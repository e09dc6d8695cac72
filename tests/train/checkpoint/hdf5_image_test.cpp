#include "train/checkpoint/hdf5_image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "autograd/base/check.h"
#include "tests/train/checkpoint/small_state.h"
#include "train/checkpoint/hdf5_handle.h"

namespace shoal {
namespace {

using testing::HasSubstr;

TEST(Hdf5Image, GivesBackEveryBit) {
  SmallState state(5);
  const StateView view = state.view();
  LoadedState read = parse_image(build_image(view), "x");
  EXPECT_TRUE(std::is_sorted(read.arrays.begin(), read.arrays.end(),
                             [](const auto& a, const auto& b) { return a.path < b.path; }));
  StateView sorted = view;
  std::sort(sorted.arrays.begin(), sorted.arrays.end(),
            [](const auto& a, const auto& b) { return a.path < b.path; });
  EXPECT_EQ(bits(read.view()), bits(sorted));
}

TEST(Hdf5Image, EqualStatesGiveEqualBytes) {
  SmallState state(5);
  StateView view = state.view();
  const std::string first = build_image(view);
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // a second later by any clock
  std::reverse(view.arrays.begin(), view.arrays.end());
  EXPECT_TRUE(build_image(view) == first);
  EXPECT_FALSE(build_image(SmallState(6).view()) == first);
}

TEST(Hdf5Image, TakesLargeArraysAndConfigsAndEmptyStates) {
  // Several chunks with ragged edges; a config beyond the 64 KB of a small attribute.
  std::vector<float> large(1000 * 777);
  for (std::size_t i = 0; i < large.size(); ++i) large[i] = static_cast<float>(i) * 0.5F;
  std::vector<double> row(400000, -1.25);
  StateView view;
  view.arrays = {{"/model/large", StateType::kF32, {1000, 777}, large.data()},
                 {"/model/deep", StateType::kF32, {10, 7, 111, 100}, large.data()},
                 {"/model/row", StateType::kF64, {1, 400000}, row.data()}};
  for (int i = 0; i < 20000; ++i) view.config += "key_" + std::to_string(i) + ": \xC3\xA9\n";
  LoadedState read = parse_image(build_image(view), "x");
  std::sort(view.arrays.begin(), view.arrays.end(),
            [](const auto& a, const auto& b) { return a.path < b.path; });
  EXPECT_TRUE(bits(read.view()) == bits(view));

  const StateView empty;
  LoadedState nothing = parse_image(build_image(empty), "x");
  EXPECT_EQ(bits(nothing.view()), bits(empty));
}

TEST(Hdf5Image, EveryArrayWithRowsHasAChecksum) {
  SmallState state(5);
  std::string image = build_image(state.view());
  const float first = static_cast<const float*>(state.view().arrays[0].data)[7];
  const std::size_t at = image.find(std::string(reinterpret_cast<const char*>(&first), 4));
  ASSERT_NE(at, image.npos);
  image[at] ^= 1;
  try {
    (void)parse_image(image, "flipped.h5");
    FAIL() << "a flipped bit was read";
  } catch (const Error& error) {
    EXPECT_EQ(error.why(), Failure::kData);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("flipped.h5"), HasSubstr("/model/layers/0")));
  }
}

TEST(Hdf5Image, RefusesWhatNoStateHas) {
  for (const std::string& bytes : {std::string(), std::string("\x89HDF\r\n\x1A\n"),
                                   std::string(5000, 'x'), std::string(100, '\0')}) {
    EXPECT_THROW((void)parse_image(bytes, "x"), Error);
  }
}

TEST(Hdf5Image, PathsAreTheCallersBusiness) {
  float x = 1;
  const auto build = [&](const std::vector<std::string>& paths) {
    StateView view;
    for (const std::string& path : paths) {
      view.arrays.push_back({path, StateType::kF32, {1}, &x});
    }
    return build_image(view);
  };
  EXPECT_NO_THROW(build({"/a/b", "/a/b.c", "/a/bc"}));
  for (const auto& paths : std::vector<std::vector<std::string>>{{""},
                                                                 {"/"},
                                                                 {"a"},
                                                                 {"/a/"},
                                                                 {"//a"},
                                                                 {"/a/../b"},
                                                                 {"/./a"},
                                                                 {"/a", "/a"},
                                                                 {"/a", "/a/b"},
                                                                 {"/a/b", "/a.b", "/a/b/c"}}) {
    EXPECT_THROW(build(paths), Error) << paths.front();
  }
}

// Files that other programs can make, in memory through the same driver, read with a forged hash.
class Foreign : public testing::Test {
 protected:
  template <class Fill>
  std::string error_of(Fill fill) {
    silence_hdf5();
    std::string image;
    {
      Hdf5Plist access(H5Pcreate(H5P_FILE_ACCESS), "create");
      h5(H5Pset_fapl_core(access, 4096, false), "choose");
      Hdf5File file(H5Fcreate("foreign.h5", H5F_ACC_TRUNC, H5P_DEFAULT, access), "create");
      for (const char* name : {"step", "tokens"}) {
        Hdf5Space space(H5Screate(H5S_SCALAR), "create");
        Hdf5Attribute attribute(
            H5Acreate2(file, name, H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT), "create");
        const std::int64_t value = 1;
        h5(H5Awrite(attribute, H5T_NATIVE_INT64, &value), "write");
      }
      Hdf5Space space(H5Screate(H5S_SCALAR), "create");
      Hdf5Type text(H5Tcopy(H5T_C_S1), "create");
      Hdf5Attribute attribute(H5Acreate2(file, "config", text, space, H5P_DEFAULT, H5P_DEFAULT),
                              "create");
      h5(H5Awrite(attribute, text, "\n"), "write");
      fill(static_cast<hid_t>(file));
      h5(H5Fflush(file, H5F_SCOPE_GLOBAL), "flush");
      // The oldest format's image can be asked for.
      image.resize(static_cast<std::size_t>(h5(H5Fget_file_image(file, nullptr, 0), "size")));
      h5(H5Fget_file_image(file, image.data(), image.size()), "read");
    }
    try {
      (void)parse_image(image, "foreign");
    } catch (const Error& error) {
      EXPECT_EQ(error.why(), Failure::kData);
      return error.what();
    }
    return "";
  }
  static void dataset(hid_t file, const char* name, hid_t type, std::vector<hsize_t> shape,
                      hid_t plist = H5P_DEFAULT) {
    Hdf5Space space(H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr), "x");
    Hdf5Dataset made(H5Dcreate2(file, name, type, space, H5P_DEFAULT, plist, H5P_DEFAULT), "x");
    made.close();
  }
};

TEST_F(Foreign, OnlyPlainArraysPass) {
  EXPECT_EQ(error_of([](hid_t) {}), "");
  EXPECT_EQ(error_of([](hid_t file) { dataset(file, "a", H5T_IEEE_F32LE, {0}); }), "");
  EXPECT_THAT(error_of([](hid_t file) { dataset(file, "a", H5T_IEEE_F32BE, {2}); }),
              HasSubstr("/a: of a type"));
  EXPECT_THAT(error_of([](hid_t file) { dataset(file, "a", H5T_STD_I16LE, {2}); }),
              HasSubstr("/a: of a type"));
  EXPECT_THAT(error_of([](hid_t file) {
                h5(H5Lcreate_soft("/b", file, "a", H5P_DEFAULT, H5P_DEFAULT), "link");
              }),
              HasSubstr("/a: a link"));
  EXPECT_THAT(error_of([](hid_t file) {
                h5(H5Lcreate_external("/etc/passwd", "/", file, "a", H5P_DEFAULT, H5P_DEFAULT),
                   "link");
              }),
              HasSubstr("/a: a link"));
  EXPECT_THAT(error_of([](hid_t file) {
                h5(H5Lcreate_hard(file, "/", file, "again", H5P_DEFAULT, H5P_DEFAULT), "link");
              }),
              HasSubstr("nested too deep"));
  EXPECT_THAT(error_of([](hid_t file) {
                h5(H5Tcommit2(file, "a", Hdf5Type(H5Tcopy(H5T_STD_I64LE), "x"), H5P_DEFAULT,
                              H5P_DEFAULT, H5P_DEFAULT),
                   "x");
              }),
              HasSubstr("neither a group nor a dataset"));
  EXPECT_THAT(error_of([](hid_t file) { dataset(file, "a\x1B[2J", H5T_IEEE_F32LE, {2}); }),
              HasSubstr("control characters"));
}

TEST_F(Foreign, NothingIsReadFromElsewhere) {
  EXPECT_THAT(error_of([](hid_t file) {
                Hdf5Plist plist(H5Pcreate(H5P_DATASET_CREATE), "x");
                h5(H5Pset_external(plist, "/etc/passwd", 0, 16), "x");
                dataset(file, "a", H5T_IEEE_F32LE, {4}, plist);
              }),
              HasSubstr("/a: stored in another file"));
  EXPECT_THAT(error_of([](hid_t file) {
                Hdf5Plist plist(H5Pcreate(H5P_DATASET_CREATE), "x");
                const hsize_t shape = 4;
                Hdf5Space space(H5Screate_simple(1, &shape, nullptr), "x");
                h5(H5Pset_virtual(plist, space, "/tmp/other.h5", "/x", space), "x");
                dataset(file, "a", H5T_IEEE_F32LE, {4}, plist);
              }),
              HasSubstr("/a: stored in another file"));
  EXPECT_THAT(error_of([](hid_t file) {
                Hdf5Plist plist(H5Pcreate(H5P_DATASET_CREATE), "x");
                const hsize_t chunk = 4;
                h5(H5Pset_chunk(plist, 1, &chunk), "x");
                h5(H5Pset_shuffle(plist), "x");
                dataset(file, "a", H5T_IEEE_F32LE, {4}, plist);
              }),
              HasSubstr("/a: stored with a filter"));
}

TEST_F(Foreign, ClaimsAreNotBelieved) {
  // 2^60 floats that were never written, in a file of a few KB; then a product beyond 64 bits.
  for (const auto& shape : {std::vector<hsize_t>{hsize_t{1} << 60U},
                            std::vector<hsize_t>{hsize_t{1} << 30U, hsize_t{1} << 30U, 4}}) {
    EXPECT_THAT(error_of([&](hid_t file) {
                  Hdf5Plist plist(H5Pcreate(H5P_DATASET_CREATE), "x");
                  const std::vector<hsize_t> chunk(shape.size(), 1);
                  h5(H5Pset_chunk(plist, static_cast<int>(chunk.size()), chunk.data()), "x");
                  dataset(file, "a", H5T_IEEE_F32LE, shape, plist);
                }),
                HasSubstr("more than the file holds"));
  }
}

}  // namespace
}  // namespace shoal
