#include "autograd/tensor.h"

#include <ostream>

namespace shoal {

std::string Shape::text() const {
  std::string all = "[";
  for (int i = 0; i < rank; ++i) all += concat(i > 0 ? ", " : "", dim[static_cast<std::size_t>(i)]);
  return all + "]";
}

std::ostream& operator<<(std::ostream& out, const Shape& shape) { return out << shape.text(); }

}  // namespace shoal
