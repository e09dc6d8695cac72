#pragma once
#include <hdf5.h>

#include <string>
#include <utility>

#include "autograd/base/check.h"

namespace shoal {

// The innermost reason on HDF5's error stack, which is then emptied.
std::string hdf5_reason();

// HDF5 prints its errors unless told otherwise; here they become exceptions.
void silence_hdf5();

// Throws kInternal unless an HDF5 call succeeded; gives its result back.
template <class Result>
Result h5(Result result, const char* doing) {
  if (result < 0) throw Error(concat("HDF5 cannot ", doing, ": ", hdf5_reason()));
  return result;
}

// Owns one HDF5 identifier. The destructor is for the way out of an error; on the good way close()
// is called, because in HDF5 closing is what writes and so what fails.
template <herr_t (*Close)(hid_t)>
class Hdf5Handle {
 public:
  Hdf5Handle(hid_t id, const char* doing) : id_(h5(id, doing)) {}
  ~Hdf5Handle() {
    if (id_ >= 0) (void)Close(id_);
  }
  Hdf5Handle(Hdf5Handle&& other) noexcept : id_(std::exchange(other.id_, -1)) {}
  Hdf5Handle& operator=(Hdf5Handle&&) = delete;

  operator hid_t() const { return id_; }  // NOLINT: as an argument of HDF5's calls
  void close() { h5(Close(std::exchange(id_, -1)), "close"); }

 private:
  hid_t id_;
};

using Hdf5File = Hdf5Handle<H5Fclose>;
using Hdf5Group = Hdf5Handle<H5Gclose>;
using Hdf5Dataset = Hdf5Handle<H5Dclose>;
using Hdf5Space = Hdf5Handle<H5Sclose>;
using Hdf5Type = Hdf5Handle<H5Tclose>;
using Hdf5Attribute = Hdf5Handle<H5Aclose>;
using Hdf5Plist = Hdf5Handle<H5Pclose>;

}  // namespace shoal
