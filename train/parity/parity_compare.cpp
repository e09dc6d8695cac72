#include "train/parity/parity_compare.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <limits>
#include <set>
#include <sstream>

#include "autograd/base/check.h"

namespace shoal {
namespace {

namespace tolerance = parity_tolerance;

double finite_or_largest(double x) {
  return std::isfinite(x) ? x : std::numeric_limits<double>::max();
}

// Of the entries whose name begins with `prefix`, the one that uses most of its tolerance.
const TensorError* worst_of(const std::vector<TensorError>& all, const std::string& prefix) {
  const TensorError* worst = nullptr;
  for (const TensorError& e : all) {
    if (e.name.rfind(prefix, 0) != 0) continue;
    if (worst == nullptr || e.error / e.tolerance > worst->error / worst->tolerance) worst = &e;
  }
  return worst;
}

std::vector<GoldenLosses> losses_of(std::span<const GoldenStep> steps) {
  std::vector<GoldenLosses> losses;
  losses.reserve(steps.size());
  for (const GoldenStep& step : steps) losses.push_back(step.losses);
  return losses;
}

bool have_norms(std::span<const GoldenStep> steps) {
  return std::any_of(steps.begin(), steps.end(),
                     [](const GoldenStep& step) { return step.grad_norm.has_value(); });
}

template <class T>
nlohmann::json or_null(const std::optional<T>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json();
}
nlohmann::json or_null(const std::string& name) {
  return name.empty() ? nlohmann::json() : nlohmann::json(name);
}

std::string shown(const std::optional<double>& error) {
  if (!error) return "-";
  std::ostringstream text;
  text << std::scientific << std::setprecision(1) << *error;
  return text.str();
}

}  // namespace

double relative_l2(std::span<const float> got, std::span<const float> want, double floor) {
  CHECK(got.size() == want.size(), "relative_l2: got ", got.size(), " values, need ", want.size());
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double d = static_cast<double>(got[i]) - static_cast<double>(want[i]);
    difference += d * d;
    norm += static_cast<double>(want[i]) * static_cast<double>(want[i]);
  }
  difference = std::sqrt(difference);
  norm = std::sqrt(norm);
  // All equal is no error, also of zeros; zeros that differ have no relative error.
  if (difference == 0.0 && std::isfinite(norm)) return 0.0;
  return finite_or_largest(norm < floor ? difference : difference / norm);
}

double relative_error(double got, double want) {
  return finite_or_largest(want == 0.0 ? std::abs(got) : std::abs(got - want) / std::abs(want));
}

double gradient_tolerance(const std::string& name, const GoldenTensor& want) {
  double norm = 0;
  for (const float v : want.values) norm += static_cast<double>(v) * static_cast<double>(v);
  if (std::sqrt(norm) < tolerance::kZeroGradient) return tolerance::kZeroGradient;
  const bool small_hc = want.values.size() <= 24 && name.find("hc_") != std::string::npos;
  return small_hc ? tolerance::kSmallHcGradient : tolerance::kGradient;
}

ParityComparison::ParityComparison(const ParityCase& want) : want_(want) {}

void ParityComparison::add(const std::string& name, double error, double tolerance) {
  all_.push_back({name, error, tolerance});
}

void ParityComparison::compare(const std::string& name, std::span<const float> got,
                               const GoldenTensor& want, double tolerance, double floor) {
  CHECK(got.size() == want.values.size(), "parity: ", name, " has ", got.size(),
        " values, the case has ", want.values.size());
  add(name, relative_l2(got, want.values, floor), tolerance);
}

void ParityComparison::logits(std::span<const float> got) {
  CHECK(want_.logits.has_value(), "parity: the case has no logits");
  compare("logits", got, *want_.logits, tolerance::kLogits);
}

void ParityComparison::mtp_logits(std::span<const float> got) {
  CHECK(want_.mtp_logits.has_value(), "parity: the case has no mtp_logits");
  compare("mtp_logits", got, *want_.mtp_logits, tolerance::kLogits);
}

void ParityComparison::streams(int layer, std::span<const float> got) {
  CHECK(layer >= 0 && layer < static_cast<int>(want_.streams.size()), "parity: no streams.", layer);
  compare(concat("streams.", layer), got, want_.streams[static_cast<std::size_t>(layer)],
          tolerance::kStreams);
}

void ParityComparison::topk(int layer, std::span<const std::int64_t> got) {
  const auto found = want_.topk.find(layer);
  CHECK(found != want_.topk.end(), "parity: the case has no topk.", layer);
  const GoldenIndices& want = found->second;
  CHECK(got.size() == want.values.size(), "parity: topk.", layer, " has ", got.size(),
        " values, the case has ", want.values.size());
  const auto k = static_cast<std::size_t>(want.shape[2]);
  double different = 0;  // queries
  for (std::size_t q = 0; q < got.size(); q += k) {
    const auto row = [k, q](const auto& values) {
      std::vector<std::int64_t> set(values.begin() + static_cast<std::ptrdiff_t>(q),
                                    values.begin() + static_cast<std::ptrdiff_t>(q + k));
      std::sort(set.begin(), set.end());
      return set;
    };
    different += row(got) != row(want.values);
  }
  add(concat("topk.", layer), different, 0.0);
}

void ParityComparison::compare_losses(const std::string& name, std::span<const GoldenLosses> got,
                                      std::span<const GoldenLosses> want, double tolerance) {
  CHECK(got.size() == want.size(), "parity: ", name, " has ", got.size(), " steps, the case has ",
        want.size());
  double loss = 0, parts = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    loss = std::max(loss, relative_error(got[i].loss, want[i].loss));
    for (const auto part :
         {&GoldenLosses::ce, &GoldenLosses::mtp, &GoldenLosses::balance, &GoldenLosses::index_kl}) {
      parts = std::max(parts, relative_error(got[i].*part, want[i].*part));
    }
  }
  add(name, loss, tolerance);
  add(name + "_parts", parts, tolerance::kLossParts);
}

void ParityComparison::losses(const GoldenLosses& got) {
  CHECK(want_.losses.has_value(), "parity: the case has no losses");
  compare_losses("loss", {&got, 1}, {&*want_.losses, 1}, tolerance::kLoss);
}

void ParityComparison::compare_steps(const std::string& name, std::span<const GoldenStep> got,
                                     std::span<const GoldenStep> want) {
  compare_losses(name, losses_of(got), losses_of(want), tolerance::kTenLosses);
  if (!have_norms(want)) return;
  double worst = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (!want[i].grad_norm) continue;
    worst = std::max(worst, relative_error(got[i].grad_norm.value_or(NAN), *want[i].grad_norm));
  }
  add(name + "_grad_norm", worst, tolerance::kGradNorm);
}

void ParityComparison::adamw(std::span<const GoldenStep> got) {
  compare_steps("adamw", got, want_.adamw);
}

void ParityComparison::muon(std::span<const GoldenStep> got) {
  compare_steps("muon", got, want_.muon);
}

void ParityComparison::gradient(const std::string& name, std::span<const float> got) {
  const auto found = want_.grad.find(name);
  CHECK(found != want_.grad.end(), "parity: the case has no gradient of ", name);
  compare("grad/" + name, got, found->second, gradient_tolerance(name, found->second),
          tolerance::kZeroGradient);
}

void ParityComparison::gradient_ce(const std::string& name, std::span<const float> got) {
  const auto found = want_.grad_ce.find(name);
  CHECK(found != want_.grad_ce.end(), "parity: the case has no gradient of ce for ", name);
  compare("grad_ce/" + name, got, found->second, gradient_tolerance(name, found->second),
          tolerance::kZeroGradient);
}

std::optional<double> ParityComparison::worst(const std::string& prefix) const {
  const TensorError* worst = worst_of(all_, prefix);
  return worst == nullptr ? std::nullopt : std::optional(worst->error);
}

ParityErrors ParityComparison::errors() const {
  ParityErrors e;
  for (const TensorError& t : all_) {
    if (t.name == "logits") e.logits = t.error;
    if (t.name == "mtp_logits") e.mtp_logits = t.error;
    if (t.name == "loss") e.loss = t.error;
    if (t.name == "loss_parts") e.loss_parts = t.error;
    if (t.name == "adamw") e.adamw = t.error;
    if (t.name == "adamw_parts") e.adamw_parts = t.error;
    if (t.name == "adamw_grad_norm") e.adamw_grad_norm = t.error;
    if (t.name == "muon") e.muon = t.error;
    if (t.name == "muon_parts") e.muon_parts = t.error;
    if (t.name == "muon_grad_norm") e.muon_grad_norm = t.error;
    if (t.name.rfind("topk.", 0) == 0) e.topk_equal = e.topk_equal.value_or(true) && t.passed();
  }
  e.streams = worst("streams.");
  const auto gradient = [&](const std::string& prefix, auto& error, std::string& name) {
    const TensorError* worst = worst_of(all_, prefix);
    if (worst == nullptr) return;
    error = worst->error;
    name = worst->name.substr(prefix.size());
  };
  gradient("grad/", e.grad_worst, e.grad_worst_name);
  gradient("grad_ce/", e.grad_ce_worst, e.grad_ce_worst_name);
  return e;
}

std::vector<std::string> ParityComparison::not_compared() const {
  std::set<std::string> done;
  for (const TensorError& t : all_) done.insert(t.name);
  std::vector<std::string> missing;
  const auto need = [&](const std::string& name) {
    if (done.count(name) == 0) missing.push_back(name);
  };
  if (want_.logits) need("logits");
  if (want_.mtp_logits) need("mtp_logits");
  if (want_.losses) need("loss");
  for (std::size_t l = 0; l < want_.streams.size(); ++l) need(concat("streams.", l));
  for (const auto& [l, indices] : want_.topk) need(concat("topk.", l));
  for (const auto& [name, tensor] : want_.grad) need("grad/" + name);
  for (const auto& [name, tensor] : want_.grad_ce) need("grad_ce/" + name);
  if (!want_.adamw.empty()) need("adamw");
  if (!want_.muon.empty()) need("muon");
  return missing;
}

bool ParityComparison::passed() const {
  return not_compared().empty() &&
         std::all_of(all_.begin(), all_.end(), [](const TensorError& t) { return t.passed(); });
}

nlohmann::json parity_json(std::span<const ParityComparison> cases) {
  nlohmann::json list = nlohmann::json::array();
  bool passed = true;
  for (const ParityComparison& c : cases) {
    passed = passed && c.passed();
    const ParityErrors e = c.errors();
    list.push_back({{"case", c.case_name()},
                    {"passed", c.passed()},
                    {"errors",
                     {{"logits", or_null(e.logits)},
                      {"mtp_logits", or_null(e.mtp_logits)},
                      {"streams", or_null(e.streams)},
                      {"loss", or_null(e.loss)},
                      {"loss_parts", or_null(e.loss_parts)},
                      {"grad_worst", or_null(e.grad_worst)},
                      {"grad_worst_name", or_null(e.grad_worst_name)},
                      {"grad_ce_worst", or_null(e.grad_ce_worst)},
                      {"grad_ce_worst_name", or_null(e.grad_ce_worst_name)},
                      {"adamw", or_null(e.adamw)},
                      {"adamw_parts", or_null(e.adamw_parts)},
                      {"adamw_grad_norm", or_null(e.adamw_grad_norm)},
                      {"muon", or_null(e.muon)},
                      {"muon_parts", or_null(e.muon_parts)},
                      {"muon_grad_norm", or_null(e.muon_grad_norm)},
                      {"topk_equal", or_null(e.topk_equal)}}},
                    {"not_compared", c.not_compared()}});
  }
  return {{"passed", passed}, {"cases", list}};
}

void print_parity(std::ostream& out, std::span<const ParityComparison> cases) {
  std::size_t width = 4;
  for (const ParityComparison& c : cases) width = std::max(width, c.case_name().size());
  const auto cell = [&](const std::string& text) { out << ' ' << std::setw(8) << text; };
  const int name_width = static_cast<int>(width);
  out << std::left << std::setw(name_width) << "case" << std::right;
  for (const char* head : {"logits", "mtp", "streams", "loss", "adamw", "muon", "topk", "grad"}) {
    cell(head);
  }
  out << "  worst gradient\n";
  for (const ParityComparison& c : cases) {
    const ParityErrors e = c.errors();
    out << std::left << std::setw(name_width) << c.case_name() << std::right;
    for (const auto& error : {e.logits, e.mtp_logits, e.streams, e.loss, e.adamw, e.muon}) {
      cell(shown(error));
    }
    cell(!e.topk_equal ? "-" : *e.topk_equal ? "equal" : "differ");
    cell(shown(e.grad_worst));
    out << "  " << e.grad_worst_name << (c.passed() ? "" : "  FAILED") << '\n';
  }
  for (const ParityComparison& c : cases) {
    for (const TensorError& t : c.all()) {
      if (t.passed()) continue;
      out << c.case_name() << ": " << t.name << ": " << shown(t.error) << ", at most "
          << shown(t.tolerance) << '\n';
    }
    for (const std::string& name : c.not_compared()) {
      out << c.case_name() << ": " << name << ": not compared\n";
    }
  }
}

}  // namespace shoal
