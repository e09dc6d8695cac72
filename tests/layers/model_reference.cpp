#include "tests/layers/model_reference.h"

#include <algorithm>
#include <bit>
#include <numeric>

namespace shoal::testing {
namespace {

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

const std::vector<double> kE2m1 = {0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0};

// What rounding adds to x: to the nearest of `values`, each with its sign, in units of the smallest
// power of two for which none of a block is beyond the last; between two, to the one at an even
// place.
std::vector<double> rounding_of(const std::vector<double>& x, const std::vector<double>& values,
                                std::size_t block, double floor) {
  std::vector<double> added(x.size());
  for (std::size_t b = 0; b < x.size(); b += block) {
    const std::size_t end = std::min(x.size(), b + block);
    double largest = floor;
    for (std::size_t i = b; i < end; ++i) largest = std::max(largest, std::abs(x[i]));
    double S = std::ldexp(1.0, -126);
    while (values.back() * S < largest) S *= 2.0;
    for (std::size_t i = b; i < end; ++i) {
      std::size_t best = 0;
      for (std::size_t v = 1; v < values.size(); ++v) {
        const double there = std::abs(std::abs(x[i]) / S - values[v]);
        const double here = std::abs(std::abs(x[i]) / S - values[best]);
        if (there < here || (there == here && v % 2 == 0)) best = v;
      }
      added[i] = std::copysign(values[best] * S, x[i]) - x[i];
    }
  }
  return added;
}

std::vector<double> unit_rms(std::vector<double> x, double eps) {
  double squares = 0.0;
  for (const double v : x) squares += v * v;
  const double r = 1.0 / std::sqrt(squares / static_cast<double>(x.size()) + eps);
  for (double& v : x) v *= r;
  return x;
}

}  // namespace

ModelReference::ModelReference(Model& model, IndexerMode mode, const Precision& precision)
    : config_(model.config()), mode_(mode), precision_(precision) {
  model.store().for_each_piece([&](const ParamPiece& piece, ModelParam& p) {
    const float* from = p.value.as<float>() + piece.offset;
    tensors_[piece.name].assign(from, from + piece.shape.numel());
  });
  for (const ModelBuffer& b : model.store().buffers()) {
    Vector& to = tensors_[b.name];
    for (std::int64_t i = 0; i < b.value.shape.numel(); ++i) {
      to.push_back(b.value.dtype == DType::kI32 ? b.value.as<std::int32_t>()[i]
                                                : b.value.as<float>()[i]);
    }
  }
}

ModelReference::Vector ModelReference::rounded(const std::string& what, const Vector& x,
                                               const Vector& values, std::size_t block,
                                               double floor) const {
  Vector& added = added_[std::to_string(document_) + " " + what];
  if (keep_) added = rounding_of(x, values, block, floor);
  Vector y = x;
  for (std::size_t i = 0; i < y.size(); ++i) y[i] += added[i];
  return y;
}

ModelReference::Vector ModelReference::fp8_kv(const std::string& what, const Vector& x) const {
  if (!precision_.fp8_kv) return x;
  Vector values;
  for (int i = 0; i < 8; ++i) values.push_back(std::ldexp(i, -9));
  for (int i = 8; i < 127; ++i) values.push_back(std::ldexp(8 + i % 8, i / 8 - 10));
  const auto plain = static_cast<std::ptrdiff_t>(x.size()) - config_.qk_rope_head_dim;
  Vector y = rounded(what, Vector(x.begin(), x.begin() + plain), values, 64, 1e-4F);
  y.insert(y.end(), x.begin() + plain, x.end());
  return y;
}

ModelReference::Vector ModelReference::index_vector(const std::string& what,
                                                    const Vector& x) const {
  if (!precision_.fp4_indexer) return x;
  Vector turned(x.size(), 0.0);
  for (std::size_t i = 0; i < x.size(); ++i) {
    for (std::size_t j = 0; j < x.size(); ++j) {
      turned[i] += std::popcount(i & j) % 2 == 0 ? x[j] : -x[j];
    }
    turned[i] /= std::sqrt(static_cast<double>(x.size()));
  }
  return rounded(what, turned, kE2m1, 32, 0.0);
}

bool ModelReference::is_alive(const std::string& what, double z) const {
  bool& alive = alive_[std::to_string(document_) + " " + what];
  if (keep_) alive = z > 0.0;
  return alive;
}

ModelReference::Seen& ModelReference::seen_in(const std::string& prefix) const {
  return seen_[prefix.substr(0, std::min(prefix.find("attn."), prefix.find("ffn.")))];
}

ModelReference::Vector ModelReference::times(const std::string& name, const Vector& x) const {
  const Vector& w = at(name);
  if (precision_.fp4_experts && name.find(".ffn.experts.") != std::string::npos) {
    Vector& added = added_[name];
    if (added.empty()) {  // the first use is one of losses()
      for (std::size_t row = 0; row < w.size(); row += x.size()) {
        const auto begin = w.begin() + static_cast<std::ptrdiff_t>(row);
        const Vector of_row = rounding_of(
            Vector(begin, begin + static_cast<std::ptrdiff_t>(x.size())), kE2m1, 32, 0.0);
        added.insert(added.end(), of_row.begin(), of_row.end());
      }
    }
    Vector y(w.size() / x.size(), 0.0);
    for (std::size_t i = 0; i < w.size(); ++i)
      y[i / x.size()] += (w[i] + added[i]) * x[i % x.size()];
    return y;
  }
  Vector y(w.size() / x.size());
  const double* row = w.data();
  for (double& out : y) {
    out = std::inner_product(x.begin(), x.end(), row, 0.0);
    row += x.size();
  }
  return y;
}

ModelReference::Vector ModelReference::norm(const std::string& name, const Vector& x) const {
  const Vector& gain = at(name);
  Vector y = unit_rms(x, config_.rms_norm_eps);
  for (std::size_t i = 0; i < y.size(); ++i) y[i] *= gain[i];
  return y;
}

void ModelReference::turn(Vector& v, double position, const RopeConfig& rope) const {
  const auto r = static_cast<double>(config_.qk_rope_head_dim);
  const auto corr = [&](double turns) {
    return r *
           std::log(static_cast<double>(rope.original_max_position_embeddings) /
                    (2.0 * M_PI * turns)) /
           (2.0 * std::log(rope.theta));
  };
  const double low = std::max(std::floor(corr(rope.beta_fast)), 0.0);
  const double high = std::min(std::ceil(corr(rope.beta_slow)), r - 1.0);
  for (std::size_t i = 0; i < static_cast<std::size_t>(r) / 2; ++i) {
    double w = std::pow(rope.theta, -2.0 * static_cast<double>(i) / r);
    if (rope.yarn) {
      const double ramp =
          std::clamp((static_cast<double>(i) - low) / (high == low ? 0.001 : high - low), 0.0, 1.0);
      w *= 1.0 - ramp + ramp / rope.factor;
    }
    const double c = std::cos(position * w), s = std::sin(position * w);
    double& a = v[v.size() - static_cast<std::size_t>(r) + 2 * i];
    double& b = v[v.size() - static_cast<std::size_t>(r) + 2 * i + 1];
    const double before = a;
    a = before * c - b * s;
    b = before * s + b * c;
  }
}

ModelReference::Mix ModelReference::mix(const std::string& prefix, const Rows& X) const {
  const std::size_t n = X.size();
  Vector v;
  for (const Vector& stream : X) v.insert(v.end(), stream.begin(), stream.end());
  const Vector u = times(prefix + "_fn", unit_rms(v, config_.rms_norm_eps));
  const Vector &a = at(prefix + "_scale"), &b = at(prefix + "_base");
  const double eps = config_.hc_eps;
  Mix m{Vector(X[0].size(), 0.0), Vector(n), Rows(n, Vector(n))};
  for (std::size_t j = 0; j < n; ++j) {
    const double A = sigmoid(a[0] * u[j] + b[j]) + eps;
    for (std::size_t c = 0; c < m.read.size(); ++c) m.read[c] += A * X[j][c];
    m.post[j] = 2.0 * sigmoid(a[1] * u[n + j] + b[n + j]);
    double sum = 0.0;
    for (std::size_t k = 0; k < n; ++k) {
      const std::size_t at = 2 * n + n * j + k;
      sum += m.comb[j][k] = std::exp(a[2] * u[at] + b[at]);
    }
    for (std::size_t k = 0; k < n; ++k) m.comb[j][k] = m.comb[j][k] / sum + eps;
  }
  const auto columns = [&] {
    for (std::size_t k = 0; k < n; ++k) {
      double sum = eps;
      for (std::size_t j = 0; j < n; ++j) sum += m.comb[j][k];
      for (std::size_t j = 0; j < n; ++j) m.comb[j][k] /= sum;
    }
  };
  columns();
  for (std::int64_t i = 1; i < config_.hc_sinkhorn_iters; ++i) {
    for (Vector& row : m.comb) {
      const double sum = std::accumulate(row.begin(), row.end(), eps);
      for (double& x : row) x /= sum;
    }
    columns();
  }
  return m;
}

ModelReference::Vector ModelReference::head(const std::string& prefix, const Rows& X) const {
  Vector v;
  for (const Vector& stream : X) v.insert(v.end(), stream.begin(), stream.end());
  const Vector u = times(prefix + "_fn", unit_rms(v, config_.rms_norm_eps));
  Vector h(X[0].size(), 0.0);
  for (std::size_t j = 0; j < X.size(); ++j) {
    const double A = sigmoid(at(prefix + "_scale")[0] * u[j] + at(prefix + "_base")[j]);
    for (std::size_t c = 0; c < h.size(); ++c) h[c] += (A + config_.hc_eps) * X[j][c];
  }
  return h;
}

ModelReference::Rows ModelReference::entries(const std::string& prefix, const Rows& x,
                                             std::size_t D, std::size_t rate, bool overlap) const {
  const Vector& ape = at(prefix + "ape");
  const std::size_t width = overlap ? 2 * D : D;
  Rows values, gates, out;
  for (const Vector& x_t : x) {
    values.push_back(times(prefix + "wkv.weight", x_t));
    gates.push_back(times(prefix + "wgate.weight", x_t));
  }
  for (std::size_t own = 0; own + rate <= x.size(); own += rate) {
    Vector p(D, 0.0);
    for (std::size_t d = 0; d < D; ++d) {
      double below = 0.0;
      for (std::size_t j = 0; j < rate; ++j) {
        if (overlap && own > 0) {  // the first half of the channels is for the next block
          const double e = std::exp(gates[own - rate + j][d] + ape[j * width + d]);
          p[d] += e * values[own - rate + j][d];
          below += e;
        }
        const std::size_t c = width - D + d;
        const double e = std::exp(gates[own + j][c] + ape[j * width + c]);
        p[d] += e * values[own + j][c];
        below += e;
      }
      p[d] /= below;
    }
    out.push_back(norm(prefix + "norm.weight", p));
    turn(out.back(), static_cast<double>(own), config_.rope_compress);
    const std::string what = prefix + std::to_string(own);
    const bool index = prefix.ends_with("indexer.compressor.");
    out.back() = index ? index_vector(what, out.back()) : fp8_kv(what, out.back());
  }
  return out;
}

ModelReference::Rows ModelReference::index_scores(const std::string& prefix, const Rows& x,
                                                  const Rows& u) const {
  const auto H = static_cast<std::size_t>(config_.index_n_heads);
  const auto D = static_cast<std::size_t>(config_.index_head_dim);
  const auto rate = static_cast<std::size_t>(config_.compress_rate_csa);
  const Rows keys = entries(prefix + "compressor.", x, D, rate, true);
  Rows scores;
  for (std::size_t t = 0; t < x.size(); ++t) {
    const Vector q = times(prefix + "wq_b.weight", u[t]);
    const Vector w = times(prefix + "weights_proj.weight", x[t]);
    scores.emplace_back((t + 1) / rate, 0.0);
    for (std::size_t h = 0; h < H; ++h) {
      const auto begin = q.begin() + static_cast<std::ptrdiff_t>(h * D);
      Vector head(begin, begin + static_cast<std::ptrdiff_t>(D));
      turn(head, static_cast<double>(t), config_.rope_compress);
      head = index_vector(prefix + "q" + std::to_string(t) + "." + std::to_string(h), head);
      for (std::size_t i = 0; i < scores[t].size(); ++i) {
        const double z = std::inner_product(head.begin(), head.end(), keys[i].begin(), 0.0);
        // Products of rounded vectors are often exactly zero, where the rectifier has no slope:
        // what it stopped, it stops afterwards.
        const std::string what = concat(prefix, t, ".", h, ".", i);
        const bool alive = !precision_.fp4_indexer ? z > 0.0 : is_alive(what, z);
        scores[t][i] += alive ? w[h] / std::sqrt(static_cast<double>(H * D)) * z : 0.0;
      }
    }
  }
  return scores;
}

ModelReference::Rows ModelReference::attention(const std::string& prefix, const Rows& x,
                                               AttentionKind kind, double* index_kl) const {
  const auto H = static_cast<std::size_t>(config_.num_attention_heads);
  const auto D = static_cast<std::size_t>(config_.head_dim);
  const auto g = static_cast<std::size_t>(config_.o_groups);
  const std::size_t T = x.size();
  const std::size_t window =
      kind == AttentionKind::kFull ? T : static_cast<std::size_t>(config_.sliding_window);
  const auto rate = static_cast<std::size_t>(config_.compress_rate(kind));
  const bool sparse = kind == AttentionKind::kCompressedSparse;
  const RopeConfig& rope = rate > 0 ? config_.rope_compress : config_.rope_main;
  Seen& sums = seen_in(prefix);
  std::vector<Rows> q(T);
  Rows kv(T), u(T), out(T), compressed, scores;
  for (std::size_t t = 0; t < T; ++t) {
    u[t] = norm(prefix + "q_norm.weight", times(prefix + "wq_a.weight", x[t]));
    const Vector all = times(prefix + "wq_b.weight", u[t]);
    for (std::size_t h = 0; h < H; ++h) {
      const auto begin = all.begin() + static_cast<std::ptrdiff_t>(h * D);
      q[t].push_back(
          unit_rms(Vector(begin, begin + static_cast<std::ptrdiff_t>(D)), config_.rms_norm_eps));
      turn(q[t][h], static_cast<double>(t), rope);
    }
    kv[t] = norm(prefix + "kv_norm.weight", times(prefix + "wkv.weight", x[t]));
    turn(kv[t], static_cast<double>(t), rope);
    kv[t] = fp8_kv(prefix + "kv" + std::to_string(t), kv[t]);
  }
  if (rate > 0) compressed = entries(prefix + "compressor.", x, D, rate, sparse);
  if (sparse && mode_ != IndexerMode::kDense) scores = index_scores(prefix + "indexer.", x, u);
  const Vector &wo_a = at(prefix + "wo_a.weight"), &sink = at(prefix + "attn_sink");
  const auto rank = static_cast<std::size_t>(config_.o_lora_rank);
  for (std::size_t t = 0; t < T; ++t) {
    std::vector<std::size_t> seen(rate > 0 ? (t + 1) / rate : 0);
    std::iota(seen.begin(), seen.end(), std::size_t{0});
    if (sparse && mode_ == IndexerMode::kSparse) {
      const auto compared = [&](std::size_t i) {
        const double score = scores[t][i];
        if (!precision_.fp4_indexer || score == 0.0) return score;
        const double unit = std::ldexp(1.0, std::ilogb(score) - 7);  // of a bfloat16
        return std::nearbyint(score / unit) * unit;
      };
      std::stable_sort(seen.begin(), seen.end(),
                       [&](std::size_t a, std::size_t b) { return compared(a) > compared(b); });
      seen.resize(std::min(seen.size(), static_cast<std::size_t>(config_.index_topk)));
      if (precision_.fp4_indexer) {
        std::vector<std::size_t>& chosen =
            chosen_[std::to_string(document_) + " " + prefix + std::to_string(t)];
        if (keep_) chosen = seen;
        seen = chosen;
      }
    }
    Vector teacher(seen.size(), 0.0);
    Vector joined(g * rank, 0.0);
    for (std::size_t h = 0; h < H; ++h) {
      double below = std::exp(sink[h]);
      Vector o(D, 0.0), weights;
      const auto look = [&](const Vector& key) {
        const double z = std::inner_product(q[t][h].begin(), q[t][h].end(), key.begin(), 0.0) /
                         std::sqrt(static_cast<double>(D));
        const double weight = std::exp(z);
        weights.push_back(weight);
        sums.logit_max = std::max(sums.logit_max, std::abs(z));
        below += weight;
        for (std::size_t d = 0; d < D; ++d) o[d] += weight * key[d];
      };
      for (const std::size_t i : seen) look(compressed[i]);
      for (std::size_t j = t + 1 >= window ? t + 1 - window : 0; j <= t; ++j) look(kv[j]);
      for (double& v : o) v /= below;
      sums.sink += std::exp(sink[h]) / below;
      for (std::size_t i = 0; i < weights.size(); ++i) {
        (i < seen.size() ? sums.entries : sums.window) += weights[i] / below;
      }
      for (std::size_t i = 0; i < seen.size(); ++i) teacher[i] += weights[i] / below;
      turn(o, -static_cast<double>(t), rope);
      const std::size_t group = h / (H / g), place = h % (H / g), width = H / g * D;
      for (std::size_t r = 0; r < rank; ++r) {
        for (std::size_t d = 0; d < D; ++d) {
          joined[group * rank + r] += wo_a[(group * rank + r) * width + place * D + d] * o[d];
        }
      }
    }
    out[t] = times(prefix + "wo_b.weight", joined);
    if (scores.empty() || seen.empty()) continue;
    const double sum = std::accumulate(teacher.begin(), teacher.end(), 0.0);
    double below = 0.0;
    for (const std::size_t i : seen) below += std::exp(scores[t][i]);
    for (std::size_t i = 0; i < seen.size(); ++i) {
      const double p = teacher[i] / sum;
      *index_kl += p * (std::log(p) - scores[t][seen[i]] + std::log(below));
    }
  }
  return out;
}

ModelReference::Vector ModelReference::expert(const std::string& prefix, const Vector& x) const {
  Vector gate = times(prefix + "w1.weight", x);
  const Vector up = times(prefix + "w3.weight", x);
  Seen& seen = seen_in(prefix);
  for (std::size_t f = 0; f < gate.size(); ++f) {
    seen.gate_max = std::max(seen.gate_max, std::abs(gate[f]));
    seen.up_max = std::max(seen.up_max, std::abs(up[f]));
  }
  const double s = config_.swiglu_limit > 0.0 ? config_.swiglu_limit : 1e300;
  for (std::size_t f = 0; f < gate.size(); ++f) {
    const double a = std::min(gate[f], s);
    gate[f] = a * sigmoid(a) * std::clamp(up[f], -s, s);
  }
  return times(prefix + "w2.weight", gate);
}

ModelReference::Vector ModelReference::moe(const std::string& prefix, const Vector& x, int token,
                                           Choices* choices) const {
  const auto K = static_cast<std::size_t>(config_.num_experts_per_tok);
  Vector s = times(prefix + "gate.weight", x);
  Seen& seen = seen_in(prefix);
  for (double& v : s) {
    seen.router_max = std::max(seen.router_max, std::abs(v));
    v = std::sqrt(std::log1p(std::exp(v)));
  }
  const double all = std::accumulate(s.begin(), s.end(), 0.0);
  for (const double v : s) seen.entropy -= v / all * std::log(v / all);
  std::vector<int> chosen;
  if (tensors_.contains(prefix + "gate.tid2eid")) {
    for (std::size_t k = 0; k < K; ++k) {
      chosen.push_back(
          static_cast<int>(at(prefix + "gate.tid2eid")[static_cast<std::size_t>(token) * K + k]));
    }
  } else {
    Vector biased = s;
    for (std::size_t e = 0; e < s.size(); ++e) biased[e] += at(prefix + "gate.bias")[e];
    for (std::size_t k = 0; k < K; ++k) {
      const auto best = std::max_element(biased.begin(), biased.end());
      chosen.push_back(static_cast<int>(best - biased.begin()));
      *best = -1e300;
    }
    Choice choice{s, chosen};
    const double total = std::accumulate(s.begin(), s.end(), 0.0);
    for (double& v : choice.share) v /= total;
    choices->push_back(choice);
  }
  double total = 1e-20;
  for (const int e : chosen) total += s[static_cast<std::size_t>(e)];
  Vector y = expert(prefix + "shared_experts.", x);
  for (const int e : chosen) {
    const double gate = config_.routed_scaling_factor * s[static_cast<std::size_t>(e)] / total;
    const Vector one = expert(prefix + "experts." + std::to_string(e) + ".", x);
    for (std::size_t c = 0; c < y.size(); ++c) y[c] += gate * one[c];
  }
  return y;
}

void ModelReference::block(const std::string& prefix, AttentionKind kind, Streams& X,
                           const std::vector<int>& ids, Choices* choices, double* index_kl) const {
  const auto write = [](Rows& X_t, const Mix& m, const Vector& y) {
    Rows next(X_t.size(), Vector(y.size()));
    for (std::size_t k = 0; k < X_t.size(); ++k) {
      for (std::size_t c = 0; c < y.size(); ++c) {
        next[k][c] = m.post[k] * y[c];
        for (std::size_t j = 0; j < X_t.size(); ++j) next[k][c] += m.comb[j][k] * X_t[j][c];
      }
    }
    X_t = std::move(next);
  };
  std::vector<Mix> mixes;
  Rows x;
  for (const Rows& X_t : X) {
    mixes.push_back(mix(prefix + "hc_attn", X_t));
    x.push_back(norm(prefix + "attn_norm.weight", mixes.back().read));
  }
  const Rows y = attention(prefix + "attn.", x, kind, index_kl);
  for (std::size_t t = 0; t < X.size(); ++t) {
    write(X[t], mixes[t], y[t]);
    const Mix m = mix(prefix + "hc_ffn", X[t]);
    write(X[t], m, moe(prefix + "ffn.", norm(prefix + "ffn_norm.weight", m.read), ids[t], choices));
    if (!keep_) continue;
    Seen& seen = seen_[prefix];
    seen.combs.push_back(mixes[t].comb);
    seen.combs.push_back(m.comb);
    for (const Vector& stream : X[t]) {
      for (const double v : stream) {
        seen.squares += v * v;
        seen.stream_max = std::max(seen.stream_max, std::abs(v));
      }
    }
  }
}

double ModelReference::cross_entropy(const Vector& logits, int target) {
  double sum = 0.0;
  for (const double z : logits) sum += std::exp(z);
  return std::log(sum) - logits[static_cast<std::size_t>(target)];
}

double ModelReference::balance(const Choices& choices) const {
  const auto E = static_cast<std::size_t>(config_.n_routed_experts);
  const double T = static_cast<double>(choices.size());
  Vector f(E, 0.0), share(E, 0.0);
  for (const Choice& c : choices) {
    for (const int e : c.experts) f[static_cast<std::size_t>(e)] += 1.0;
    for (std::size_t e = 0; e < E; ++e) share[e] += c.share[e] / T;
  }
  double sum = 0.0;
  for (std::size_t e = 0; e < E; ++e) {
    sum += f[e] * static_cast<double>(E) / (static_cast<double>(config_.num_experts_per_tok) * T) *
           share[e];
  }
  return sum;
}

ModelReference::Sums ModelReference::losses(const Sequences& sequences) {
  passed_.clear();
  added_.clear();
  chosen_.clear();
  return losses_from(0, sequences, true);
}

ModelReference::Sums ModelReference::losses_after_change(const std::string& name,
                                                         const Sequences& sequences) {
  std::size_t first = config_.layer_types.size();
  if (name.starts_with("embed.")) first = 0;
  if (name.starts_with("layers.")) first = std::stoul(name.substr(7));
  return losses_from(first, sequences, false);
}

ModelReference::Sums ModelReference::losses_from(std::size_t first, const Sequences& sequences,
                                                 bool keep) {
  const auto C = static_cast<std::size_t>(config_.hidden_size);
  const auto n = static_cast<std::size_t>(config_.hc_mult);
  const auto L = static_cast<std::size_t>(config_.num_hidden_layers);
  const bool has_mtp = config_.num_nextn_predict_layers > 0;
  const auto embedding = [&](int token) {
    const auto begin = at("embed.weight").begin() +
                       static_cast<std::ptrdiff_t>(static_cast<std::size_t>(token) * C);
    return Vector(begin, begin + static_cast<std::ptrdiff_t>(C));
  };
  Sums sums;
  seen_.clear();
  mtp_guesses_ = mtp_taken_ = 0;
  const auto likeliest = [](const Vector& z) {
    return std::max_element(z.begin(), z.end()) - z.begin();
  };
  std::size_t document = 0;
  for (const std::vector<Document>& documents : sequences) {
    std::vector<Choices> choices(L + 1);
    for (const Document& tokens : documents) {
      const std::size_t T = tokens.size() - 1;
      const std::vector<int> ids(tokens.begin(), tokens.end() - 1);
      const std::vector<int> next(tokens.begin() + 1, tokens.end());
      if (keep) passed_.emplace_back(L + 1);
      keep_ = keep;
      document_ = document;
      std::vector<Passed>& passed = passed_.at(document++);
      for (std::size_t l = 0; l < first; ++l) {
        const Choices& made = passed[l].choices;
        choices[l].insert(choices[l].end(), made.begin(), made.end());
        sums.index_kl += passed[l].index_kl;
      }
      Streams X;
      if (first > 0) {
        X = passed[first].before;
      } else {
        for (const int id : ids) X.push_back(Rows(n, embedding(id)));
      }
      for (std::size_t l = first; l < L; ++l) {
        Passed now;
        if (keep) now.before = X;
        block("layers." + std::to_string(l) + ".", config_.layer_types[l], X, ids, &now.choices,
              &now.index_kl);
        choices[l].insert(choices[l].end(), now.choices.begin(), now.choices.end());
        sums.index_kl += now.index_kl;
        if (keep) passed[l] = std::move(now);
      }
      if (keep) passed[L].before = X;
      std::vector<std::ptrdiff_t> main;
      for (std::size_t t = 0; t < T; ++t) {
        const Vector z = times("head.weight", norm("norm.weight", head("hc_head", X[t])));
        sums.ce += cross_entropy(z, next[t]);
        main.push_back(likeliest(z));
      }
      if (!has_mtp) continue;
      for (std::size_t t = 0; t < T; ++t) {
        const Vector e =
            times("mtp.0.e_proj.weight", norm("mtp.0.enorm.weight", embedding(next[t])));
        for (Vector& stream : X[t]) {
          stream = times("mtp.0.h_proj.weight", norm("mtp.0.hnorm.weight", stream));
          for (std::size_t c = 0; c < C; ++c) stream[c] += e[c];
        }
      }
      block("mtp.0.", AttentionKind::kSliding, X, next, &choices[L], &sums.index_kl);
      for (std::size_t t = 0; t + 1 < T; ++t) {
        const Vector z =
            times("head.weight", norm("mtp.0.norm.weight", head("mtp.0.hc_head", X[t])));
        sums.mtp += cross_entropy(z, next[t + 1]);
        ++mtp_guesses_;
        mtp_taken_ += likeliest(z) == main[t + 1] ? 1 : 0;
      }
    }
    for (const Choices& c : choices) {
      if (!c.empty()) sums.balance += balance(c);
    }
  }
  return sums;
}

}  // namespace shoal::testing
