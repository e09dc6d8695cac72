#include "layers/decode/key_store.h"

namespace shoal {

void KeyStore::reserve(std::int64_t keys) {
  codes_.reserve(static_cast<std::size_t>(keys_.code_bytes(keys)));
  scales_.reserve(static_cast<std::size_t>(keys_.scale_bytes(keys)));
}

void KeyStore::append(const Tensor& keys) {
  const std::int64_t n = keys.shape.rows();
  codes_.resize(static_cast<std::size_t>(keys_.code_bytes(count_ + n)));
  scales_.resize(static_cast<std::size_t>(keys_.scale_bytes(count_ + n)));
  pack_keys(keys.as<float>(), count_, n, this->keys());
  count_ += n;
}

PackedKeys KeyStore::keys() { return {codes_.data(), scales_.data(), keys_.D}; }

std::size_t KeyStore::bytes() const {
  return static_cast<std::size_t>(count_ * (keys_.width() / 2 + keys_.blocks()));
}

}  // namespace shoal
