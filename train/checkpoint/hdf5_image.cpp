#include "train/checkpoint/hdf5_image.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "train/checkpoint/hdf5_handle.h"

namespace shoal {
namespace {

constexpr std::size_t kChunkBytes = std::size_t{1} << 20;
constexpr std::size_t kGrowBytes = std::size_t{1} << 16;  // of the image, in HDF5's steps
constexpr int kMostDepth = 64;
constexpr std::size_t kMostLinks = std::size_t{1} << 20;
constexpr const char* kImageName = "state.h5";  // HDF5 wants a name; nothing is opened by it

hid_t file_type(StateType type) {
  switch (type) {
    case StateType::kF32:
      return H5T_IEEE_F32LE;
    case StateType::kF64:
      return H5T_IEEE_F64LE;
    case StateType::kI32:
      return H5T_STD_I32LE;
    case StateType::kI64:
      return H5T_STD_I64LE;
    case StateType::kU64:
      return H5T_STD_U64LE;
  }
  return H5I_INVALID_HID;
}

hid_t memory_type(StateType type) {
  switch (type) {
    case StateType::kF32:
      return H5T_NATIVE_FLOAT;
    case StateType::kF64:
      return H5T_NATIVE_DOUBLE;
    case StateType::kI32:
      return H5T_NATIVE_INT32;
    case StateType::kI64:
      return H5T_NATIVE_INT64;
    case StateType::kU64:
      return H5T_NATIVE_UINT64;
  }
  return H5I_INVALID_HID;
}

// ---- Memory of the file that HDF5 writes -------------------------------------------------------

// H5Fget_file_image of 1.10 gives bytes that cannot be opened again (it clears a status flag and
// leaves the checksum). The finished bytes come through the driver's memory callbacks instead: it
// grows the file in our buffer, and the buffer stays when the file is closed.
struct WrittenImage {
  std::string bytes;
  bool closed = false;

  static void* resize(void* /*from*/, std::size_t size, H5FD_file_image_op_t, void* self) {
    try {
      std::string& bytes = static_cast<WrittenImage*>(self)->bytes;
      if (size > bytes.capacity()) bytes.reserve(std::max(size, 2 * bytes.capacity()));
      bytes.resize(size);
      return bytes.data();
    } catch (const std::exception&) {
      return nullptr;  // out of memory; no exception may cross C code
    }
  }
  static void* start(std::size_t size, H5FD_file_image_op_t op, void* self) {
    return resize(nullptr, size, op, self);
  }
  static void* copy(void* to, const void* from, std::size_t size, H5FD_file_image_op_t, void*) {
    return std::memcpy(to, from, size);
  }
  static herr_t free(void* /*from*/, H5FD_file_image_op_t op, void* self) {
    if (op == H5FD_FILE_IMAGE_OP_FILE_CLOSE) static_cast<WrittenImage*>(self)->closed = true;
    return 0;
  }
};

// The driver copies and frees the pointer to our data with its property list; it stays ours.
void* share_pointer(void* self) { return self; }
herr_t keep_pointer(void* /*self*/) { return 0; }

// The driver's memory ends at a multiple of its step; the file ends where its superblock says
// (version 2 and 3: 8 bytes at 28).
void cut_to_end_of_file(std::string& image) {
  std::uint64_t end = 0;
  CHECK(image.size() > 48 && (image[8] == 2 || image[8] == 3) && image[9] == 8,
        "HDF5 made a superblock of another kind");
  for (int i = 7; i >= 0; --i) end = end << 8 | static_cast<unsigned char>(image[28U + i]);
  CHECK(end <= image.size(), "HDF5 made an incomplete file");
  image.resize(end);
}

Hdf5Plist core_access() {
  Hdf5Plist access(H5Pcreate(H5P_FILE_ACCESS), "create a property list");
  h5(H5Pset_fapl_core(access, kGrowBytes, false), "choose memory");
  // One file format for ever, whatever HDF5 this program is built with; older formats have
  // attributes without checksums.
  h5(H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110), "choose a file format");
  h5(H5Pset_fclose_degree(access, H5F_CLOSE_STRONG), "choose how to close");
  return access;
}

// ---- Writing -----------------------------------------------------------------------------------

// Halves the longest extent until a chunk is small; rows stay together as long as they can.
std::vector<hsize_t> chunk_of(const std::vector<hsize_t>& shape, std::size_t item_bytes) {
  std::vector<hsize_t> chunk = shape;
  for (std::size_t dim = 0; dim < chunk.size();) {
    std::size_t bytes = item_bytes;
    for (const hsize_t extent : chunk) bytes *= extent;
    if (bytes <= kChunkBytes) break;
    if (chunk[dim] == 1) {
      ++dim;
    } else {
      chunk[dim] = (chunk[dim] + 1) / 2;
    }
  }
  return chunk;
}

void write_attribute(hid_t root, const char* name, hid_t type, hid_t memory, const void* value) {
  Hdf5Space space(H5Screate(H5S_SCALAR), "create a space");
  Hdf5Attribute attribute(H5Acreate2(root, name, type, space, H5P_DEFAULT, H5P_DEFAULT),
                          "create an attribute");
  h5(H5Awrite(attribute, memory, value), "write an attribute");
  attribute.close();
  space.close();
}

void write_config(hid_t root, const std::string& config) {
  CHECK(config.find('\0') == config.npos, "a config with a NUL in it");
  Hdf5Type text(H5Tcopy(H5T_C_S1), "create a type");
  h5(H5Tset_size(text, config.size() + 1), "create a type");
  h5(H5Tset_cset(text, H5T_CSET_UTF8), "create a type");
  write_attribute(root, "config", text, text, config.c_str());
  text.close();
}

// Arrays with rows are cut in chunks, each with its checksum. Single numbers and empty arrays
// cannot be; they lie in their header, which has one.
void write_array(hid_t file, const StateArray& array) {
  const std::vector<hsize_t> shape(array.shape.begin(), array.shape.end());
  const std::size_t bytes = array.bytes();
  Hdf5Plist plist(H5Pcreate(H5P_DATASET_CREATE), "create a property list");
  h5(H5Pset_obj_track_times(plist, false), "leave out times");
  if (shape.empty() || bytes == 0) {
    h5(H5Pset_layout(plist, H5D_COMPACT), "choose a layout");
  } else {
    const std::vector<hsize_t> chunk = chunk_of(shape, bytes_of(array.type));
    h5(H5Pset_chunk(plist, static_cast<int>(chunk.size()), chunk.data()), "choose a layout");
    h5(H5Pset_fletcher32(plist), "ask for checksums");
  }
  Hdf5Space space(shape.empty()
                      ? H5Screate(H5S_SCALAR)
                      : H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr),
                  "create a space");
  Hdf5Dataset dataset(H5Dcreate2(file, array.path.c_str(), file_type(array.type), space,
                                 H5P_DEFAULT, plist, H5P_DEFAULT),
                      "create a dataset");
  if (bytes > 0) {
    h5(H5Dwrite(dataset, memory_type(array.type), H5S_ALL, H5S_ALL, H5P_DEFAULT, array.data),
       "write a dataset");
  }
  dataset.close();
  space.close();
  plist.close();
}

// HDF5 can make the groups on the way by itself, but then with their times in them.
void make_groups(hid_t file, hid_t group_plist, const std::vector<const StateArray*>& arrays) {
  std::set<std::string> made;
  for (const StateArray* array : arrays) {
    const std::string& path = array->path;
    for (std::size_t at = path.find('/', 1); at != path.npos; at = path.find('/', at + 1)) {
      const std::string group = path.substr(0, at);
      if (!made.insert(group).second) continue;
      Hdf5Group handle(H5Gcreate2(file, group.c_str(), H5P_DEFAULT, group_plist, H5P_DEFAULT),
                       "create a group");
      handle.close();
    }
  }
}

// ---- Reading -----------------------------------------------------------------------------------

// The driver would copy an image twice; these lend it ours. It is opened read-only.
struct LentImage {
  std::string_view bytes;

  void* pointer() const { return const_cast<char*>(bytes.data()); }  // NOLINT
  static void* start(std::size_t size, H5FD_file_image_op_t, void* self) {
    const auto* lent = static_cast<const LentImage*>(self);
    return size <= lent->bytes.size() ? lent->pointer() : nullptr;
  }
  static void* copy(void* to, const void* from, std::size_t size, H5FD_file_image_op_t, void*) {
    return to == from ? to : std::memcpy(to, from, size);
  }
  static void* resize(void*, std::size_t, H5FD_file_image_op_t, void*) { return nullptr; }
  static herr_t free(void*, H5FD_file_image_op_t, void*) { return 0; }
};

class ImageReader {
 public:
  ImageReader(hid_t file, std::uint64_t most_bytes) : file_(file), most_bytes_(most_bytes) {}

  LoadedState read() {
    read_group(file_, "", 0);
    std::sort(state_.arrays.begin(), state_.arrays.end(),
              [](const LoadedArray& a, const LoadedArray& b) { return a.path < b.path; });
    state_.step = read_integer("step");
    state_.tokens = read_integer("tokens");
    state_.config = read_text("config");
    return std::move(state_);
  }

 private:
  [[noreturn]] static void refuse(const std::string& what) { throw Error(what); }

  // Names first: nothing may throw through H5Literate.
  static std::vector<std::string> names_in(hid_t group) {
    std::vector<std::string> names;
    hsize_t start = 0;
    const H5L_iterate_t collect = [](hid_t, const char* name, const H5L_info_t*,
                                     void* out) -> herr_t {
      auto& all = *static_cast<std::vector<std::string>*>(out);
      if (all.size() >= kMostLinks) return -1;
      try {
        all.emplace_back(name);
      } catch (const std::exception&) {
        return -1;
      }
      return 0;
    };
    h5(H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, &start, collect, &names), "list a group");
    return names;
  }

  void read_group(hid_t group, const std::string& path, int depth) {
    if (depth > kMostDepth) refuse(concat(path, ": groups nested too deep"));
    for (const std::string& name : names_in(group)) {
      const std::string inside = path + "/" + name;
      if (++links_ > kMostLinks) refuse("too many objects");
      // Names are shown on terminals, which obey control characters.
      if (std::any_of(name.begin(), name.end(),
                      [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7F'; })) {
        refuse("a name with control characters");
      }
      H5L_info_t link;
      h5(H5Lget_info(group, name.c_str(), &link, H5P_DEFAULT), "read a link");
      if (link.type != H5L_TYPE_HARD) refuse(concat(inside, ": a link, not data"));
      H5O_info_t object;
      h5(H5Oget_info_by_name2(group, name.c_str(), &object, H5O_INFO_BASIC, H5P_DEFAULT),
         "read an object");
      if (object.type == H5O_TYPE_GROUP) {
        Hdf5Group next(H5Gopen2(group, name.c_str(), H5P_DEFAULT), "open a group");
        read_group(next, inside, depth + 1);
        next.close();
      } else if (object.type == H5O_TYPE_DATASET) {
        read_array(group, name, inside);
      } else {
        refuse(concat(inside, ": neither a group nor a dataset"));
      }
    }
  }

  void read_array(hid_t group, const std::string& name, const std::string& path) {
    Hdf5Dataset dataset(H5Dopen2(group, name.c_str(), H5P_DEFAULT), "open a dataset");
    check_storage(dataset, path);
    LoadedArray array;
    array.path = path;
    array.type = type_of(dataset, path);
    array.shape = shape_of(dataset, path);
    // No compression: an array cannot be larger than its file, so what a hostile header claims is
    // never allocated. Together neither: hard links may show one dataset many times.
    std::uint64_t bytes = bytes_of(array.type);
    for (const std::int64_t extent : array.shape) {
      if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(extent), &bytes)) {
        bytes = most_bytes_ + 1;
        break;
      }
    }
    if (bytes > most_bytes_ - taken_bytes_) {
      refuse(concat(path, ": ", shape_text(array.shape), " is more than the file holds"));
    }
    taken_bytes_ += bytes;
    array.bytes.resize(bytes);
    if (bytes > 0) {
      if (H5Dread(dataset, memory_type(array.type), H5S_ALL, H5S_ALL, H5P_DEFAULT,
                  array.bytes.data()) < 0) {
        refuse(concat(path, ": ", hdf5_reason()));
      }
    }
    dataset.close();
    state_.arrays.push_back(std::move(array));
  }

  static void check_storage(hid_t dataset, const std::string& path) {
    Hdf5Plist plist(H5Dget_create_plist(dataset), "read a property list");
    const H5D_layout_t layout = H5Pget_layout(plist);
    if (layout != H5D_COMPACT && layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED) {
      refuse(concat(path, ": stored in another file"));
    }
    if (h5(H5Pget_external_count(plist), "read a layout") != 0) {
      refuse(concat(path, ": stored in another file"));
    }
    const int filters = h5(H5Pget_nfilters(plist), "read the filters");
    for (int i = 0; i < filters; ++i) {
      unsigned flags = 0;
      unsigned config = 0;
      std::size_t values = 0;
      const H5Z_filter_t filter = H5Pget_filter2(plist, static_cast<unsigned>(i), &flags, &values,
                                                 nullptr, 0, nullptr, &config);
      if (filter != H5Z_FILTER_FLETCHER32) refuse(concat(path, ": stored with a filter"));
    }
    plist.close();
  }

  static StateType type_of(hid_t dataset, const std::string& path) {
    Hdf5Type stored(H5Dget_type(dataset), "read a type");
    for (const StateType type :
         {StateType::kF32, StateType::kF64, StateType::kI32, StateType::kI64, StateType::kU64}) {
      if (h5(H5Tequal(stored, file_type(type)), "read a type") > 0) return type;
    }
    refuse(concat(path, ": of a type that no state has"));
  }

  static std::vector<std::int64_t> shape_of(hid_t dataset, const std::string& path) {
    Hdf5Space space(H5Dget_space(dataset), "read a space");
    const H5S_class_t kind = H5Sget_simple_extent_type(space);
    if (kind != H5S_SCALAR && kind != H5S_SIMPLE) refuse(concat(path, ": without a shape"));
    const int rank = h5(H5Sget_simple_extent_ndims(space), "read a shape");
    std::vector<hsize_t> extents(static_cast<std::size_t>(rank));
    h5(H5Sget_simple_extent_dims(space, extents.data(), nullptr), "read a shape");
    std::vector<std::int64_t> shape;
    for (const hsize_t extent : extents) {
      if (extent > hsize_t{INT64_MAX}) refuse(concat(path, ": absurd shape"));
      shape.push_back(static_cast<std::int64_t>(extent));
    }
    return shape;
  }

  std::int64_t read_integer(const char* name) const {
    Hdf5Attribute attribute(H5Aopen(file_, name, H5P_DEFAULT), "find an attribute");
    Hdf5Type type(H5Aget_type(attribute), "read an attribute");
    check_scalar(attribute, name);
    if (h5(H5Tequal(type, H5T_STD_I64LE), "read an attribute") <= 0) {
      refuse(concat("attribute ", name, " is no integer"));
    }
    std::int64_t value = 0;
    h5(H5Aread(attribute, H5T_NATIVE_INT64, &value), "read an attribute");
    if (value < 0) refuse(concat("attribute ", name, " is negative"));
    return value;
  }

  std::string read_text(const char* name) const {
    Hdf5Attribute attribute(H5Aopen(file_, name, H5P_DEFAULT), "find an attribute");
    Hdf5Type type(H5Aget_type(attribute), "read an attribute");
    check_scalar(attribute, name);
    const bool plain = H5Tget_class(type) == H5T_STRING &&
                       h5(H5Tis_variable_str(type), "read an attribute") == 0 &&
                       H5Tget_size(type) <= most_bytes_;
    if (!plain) refuse(concat("attribute ", name, " is no plain text"));
    std::string text(H5Tget_size(type), '\0');
    h5(H5Aread(attribute, type, text.data()), "read an attribute");
    text.resize(std::strlen(text.c_str()));  // c_str(): a NUL follows in any case
    return text;
  }

  static void check_scalar(hid_t attribute, const char* name) {
    Hdf5Space space(H5Aget_space(attribute), "read an attribute");
    if (H5Sget_simple_extent_type(space) != H5S_SCALAR) {
      refuse(concat("attribute ", name, " is an array"));
    }
  }

  hid_t file_;
  std::uint64_t most_bytes_;
  std::uint64_t taken_bytes_ = 0;
  std::size_t links_ = 0;
  LoadedState state_;
};

}  // namespace

std::string build_image(const StateView& state) {
  check_paths(state.arrays);
  silence_hdf5();
  std::vector<const StateArray*> arrays;  // by path: the caller's order leaves no trace
  for (const StateArray& array : state.arrays) arrays.push_back(&array);
  std::sort(arrays.begin(), arrays.end(),
            [](const StateArray* a, const StateArray* b) { return a->path < b->path; });

  WrittenImage image;
  H5FD_file_image_callbacks_t callbacks = {WrittenImage::start,
                                           WrittenImage::copy,
                                           WrittenImage::resize,
                                           WrittenImage::free,
                                           share_pointer,
                                           keep_pointer,
                                           &image};
  Hdf5Plist access = core_access();
  h5(H5Pset_file_image_callbacks(access, &callbacks), "choose memory");
  Hdf5Plist creation(H5Pcreate(H5P_FILE_CREATE), "create a property list");
  h5(H5Pset_obj_track_times(creation, false), "leave out times");
  Hdf5Plist group(H5Pcreate(H5P_GROUP_CREATE), "create a property list");
  h5(H5Pset_obj_track_times(group, false), "leave out times");

  Hdf5File file(H5Fcreate(kImageName, H5F_ACC_TRUNC, creation, access), "create a file in memory");
  make_groups(file, group, arrays);
  for (const StateArray* array : arrays) write_array(file, *array);
  write_attribute(file, "step", H5T_STD_I64LE, H5T_NATIVE_INT64, &state.step);
  write_attribute(file, "tokens", H5T_STD_I64LE, H5T_NATIVE_INT64, &state.tokens);
  write_config(file, state.config);
  file.close();
  CHECK(image.closed, "HDF5 kept its file open");
  cut_to_end_of_file(image.bytes);
  return std::move(image.bytes);
}

LoadedState parse_image(std::string_view image, const std::string& where) {
  silence_hdf5();
  LentImage lent{image};
  H5FD_file_image_callbacks_t callbacks = {LentImage::start,
                                           LentImage::copy,
                                           LentImage::resize,
                                           LentImage::free,
                                           share_pointer,
                                           keep_pointer,
                                           &lent};
  try {
    Hdf5Plist access = core_access();
    h5(H5Pset_file_image_callbacks(access, &callbacks), "choose memory");
    h5(H5Pset_file_image(access, lent.pointer(), image.size()), "take the file");
    Hdf5File file(H5Fopen(kImageName, H5F_ACC_RDONLY, access), "open the file");
    LoadedState state = ImageReader(file, image.size()).read();
    file.close();
    return state;
  } catch (const Error& error) {
    reject(Failure::kData, where, ": not a valid state file: ", error.what());
  }
}

std::string hdf5_version() {
  unsigned major = 0;
  unsigned minor = 0;
  unsigned patch = 0;
  h5(H5get_libversion(&major, &minor, &patch), "say its version");
  return concat(major, ".", minor, ".", patch);
}

}  // namespace shoal
