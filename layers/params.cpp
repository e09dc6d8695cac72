#include "layers/params.h"

#include <algorithm>
#include <utility>

#include "autograd/base/parallel.h"
#include "autograd/base/rng.h"

namespace shoal {
namespace {

constexpr std::int64_t kAlignFloats = 16;

std::int64_t aligned(std::int64_t n) {
  return (n + kAlignFloats - 1) / kAlignFloats * kAlignFloats;
}

}  // namespace

ModelParam& ParamStore::add(ParamSpec spec) {
  CHECK(values().data() == nullptr, "ParamStore: ", spec.name, " added after allocate()");
  ModelParam& p = params_.emplace_back();
  p.name = spec.name;
  p.value.shape = p.grad.shape = spec.shape;
  p.offset = flat_size_;
  p.group = group_;
  p.role = role_.value_or(spec.role);
  p.pieces = std::move(spec.pieces);
  if (p.pieces.empty()) p.pieces.push_back({spec.name, 0, spec.shape, spec.row_blocks});
  for (ParamPiece& piece : p.pieces) {
    if (piece.row_blocks.empty()) piece.row_blocks = {piece.shape.rows()};
  }
  flat_size_ += aligned(spec.shape.numel());
  p.spec = std::move(spec);
  return p;
}

ModelBuffer& ParamStore::add_buffer(const std::string& name, Shape shape, DType dtype) {
  return buffers_.emplace_back(ModelBuffer{name, {nullptr, shape, dtype, kConstant}});
}

void ParamStore::allocate() {
  value_pages_ = PageRange(static_cast<std::size_t>(flat_size_) * sizeof(float));
  for (ModelParam& p : params_) p.value.data = values().data() + p.offset;
  std::int64_t size = 0;
  for (const ModelBuffer& b : buffers_) size += aligned(b.value.shape.numel());
  buffer_pages_ = PageRange(static_cast<std::size_t>(size) * sizeof(float));
  auto* at = reinterpret_cast<float*>(buffer_pages_.data());
  for (ModelBuffer& b : buffers_) {
    b.value.data = at;
    at += aligned(b.value.shape.numel());
  }
}

void ParamStore::initialise(std::uint64_t seed) {
  for_each_piece([&](const ParamPiece& piece, ModelParam& p) {
    float* to = p.value.as<float>() + piece.offset;
    const std::int64_t n = piece.shape.numel();
    if (p.spec.fill) return p.spec.fill(to);
    switch (p.spec.init) {
      case Init::kOnes:
        std::fill_n(to, n, 1.0F);
        return;
      case Init::kZeros:
        std::fill_n(to, n, 0.0F);
        return;
      case Init::kNormal:
        break;
    }
    const Rng rng(seed, Purpose::kInit, hash_bytes(piece.name.data(), piece.name.size(), 0));
    for_chunks(n, [&](Range r) {
      for (std::int64_t i = r.begin; i < r.end; ++i) {
        to[i] = static_cast<float>(p.spec.std * rng.normal(static_cast<std::uint64_t>(i)));
      }
    });
  });
}

void ParamStore::bind_grads(float* flat) {
  for (ModelParam& p : params_) {
    p.grad.data = flat + p.offset;
    p.grad_written = false;
  }
}

std::int64_t ParamStore::count() const {
  std::int64_t n = 0;
  for (const ModelParam& p : params_) n += p.value.shape.numel();
  return n;
}

void ParamStore::for_each_piece(const std::function<void(const ParamPiece&, ModelParam&)>& fn) {
  for (ModelParam& p : params_) {
    for (const ParamPiece& piece : p.pieces) fn(piece, p);
  }
}

}  // namespace shoal
