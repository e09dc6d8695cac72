#include "data/synthetic/episodes.h"

#include <algorithm>

#include "autograd/base/check.h"
#include "autograd/base/read_file.h"
#include "autograd/base/rng.h"
#include "data/file_kind.h"
#include "data/permutation.h"
#include "data/tokenizer/bytes.h"

namespace shoal {
namespace {

constexpr std::uint64_t kHeldOutShare = 8;  // one in so many
// Of an episode until it falls on its side; with an eighth held out, a thousand never fail by
// chance.
constexpr std::uint64_t kMostTries = 1000;

constexpr std::int32_t id_of(char byte) {
  return ByteTokenizer::kFirstByte + static_cast<unsigned char>(byte);
}

// Streams of an episode's randomness.
enum Stream : std::uint64_t { kKeys, kOrder, kDraws, kFiller, kStreams };

Rng stream_of(std::uint64_t seed, std::int64_t index, std::uint64_t tried, Stream stream) {
  return Rng(seed, Purpose::kDataOrder,
             (static_cast<std::uint64_t>(index) * kMostTries + tried) * kStreams + stream);
}

}  // namespace

// What one episode asks, nothing of it stored: every number is a function of its place.
class Episodes::Choices {
 public:
  Choices(const Episodes& e, std::int64_t index, std::uint64_t tried)
      : task_(e.task_),
        layout_(e.layout_),
        query_begin_(e.T_ + 1 - e.layout_.queries * e.layout_.block),
        keys_(count_keys(e.task_.key_length), stream_of(e.seed_, index, tried, kKeys)),
        order_(e.task_.pairs, stream_of(e.seed_, index, tried, kOrder)),
        draws_(stream_of(e.seed_, index, tried, kDraws)) {}

  // Letter j of pair i's key, digit j of its value.
  char key(std::int64_t i, std::int64_t j) const {
    std::int64_t code = keys_(i);
    for (std::int64_t k = 0; k < j; ++k) code /= kKeyLetters;
    return static_cast<char>('A' + code % kKeyLetters);
  }
  char value(std::int64_t i, std::int64_t j) const {
    return static_cast<char>('0' + draw(task_.pairs + i * task_.value_length + j, 10));
  }
  // Token at which pair i begins. A needle's pairs share the range of distances evenly.
  std::int64_t begin(std::int64_t i) const {
    if (task_.kind == TaskKind::kMqar) return 1 + i * layout_.block;
    const std::int64_t nearest = query_begin_ - layout_.min_distance - layout_.block;
    const std::int64_t room = layout_.max_distance - layout_.min_distance + layout_.block;
    const std::int64_t stretch = room / task_.pairs;
    return nearest - i * stretch - draw(i, stretch - layout_.block + 1);
  }
  std::int64_t asked(std::int64_t query) const { return order_(query); }
  std::int64_t query_begin(std::int64_t query) const {
    return query_begin_ + query * layout_.block;
  }
  char letter(std::int64_t j) const { return static_cast<char>('A' + draw(j, kKeyLetters)); }

  std::uint64_t hash() const {
    std::uint64_t h = static_cast<std::uint64_t>(task_.kind);
    const auto add = [&h](std::int64_t value) { h = hash_bytes(&value, sizeof(value), h); };
    if (task_.kind == TaskKind::kCopy) {
      for (std::int64_t j = 0; j < layout_.length; ++j) add(letter(j));
      return h;
    }
    for (std::int64_t i = 0; i < task_.pairs; ++i) {
      add(keys_(i));
      add(query_begin_ - begin(i));
      for (std::int64_t j = 0; j < task_.value_length; ++j) add(value(i, j));
    }
    for (std::int64_t q = 0; q < layout_.queries; ++q) add(asked(q));
    return h;
  }

 private:
  std::int64_t draw(std::int64_t at, std::int64_t n) const {
    return static_cast<std::int64_t>(
        draws_.below(static_cast<std::uint64_t>(at), static_cast<std::uint64_t>(n)));
  }

  const TaskConfig& task_;
  const TaskLayout& layout_;
  std::int64_t query_begin_;
  KeyedPermutation keys_, order_;
  Rng draws_;
};

Episodes::Episodes(const TaskConfig& task, std::int64_t T, std::uint64_t seed, bool held_out)
    : task_(task),
      layout_(layout_of(task, T)),
      T_(T),
      seed_(seed),
      held_out_(held_out),
      haystack_(std::make_shared<const std::string>(
          task.haystack.empty() ? "" : read_file(task.haystack))) {
  if (!task.haystack.empty() && haystack_->empty()) {
    reject(Failure::kData, task.haystack, ": is empty; a haystack needs text");
  }
  const std::string why = why_not_text(*haystack_, task.haystack);
  if (!why.empty()) reject(Failure::kData, task.haystack, why);
  require_possible();
}

Episodes::Episodes(const Episodes& other, std::int64_t T) : Episodes(other) {
  layout_ = layout_of(task_, T);
  T_ = T;
  require_possible();
}

void Episodes::require_possible() const {
  for (const TaskProblem& problem : find_problems(task_, T_)) {
    reject(Failure::kUsage, "task ", name_of(task_.kind), ": ", problem.key, ": ", problem.what);
  }
  choose(0);
}

Episodes::Choices Episodes::choose(std::int64_t index) const {
  for (std::uint64_t tried = 0; tried < kMostTries; ++tried) {
    const Choices choices(*this, index, tried);
    if ((choices.hash() % kHeldOutShare == 0) == held_out_) return choices;
  }
  reject(Failure::kUsage, "task ", name_of(task_.kind),
         ": there is too little to ask to hold an eighth of it out; use longer keys, values or "
         "strings");
}

void Episodes::fill(std::int64_t index, std::int64_t b, Batch& batch) const {
  const std::int64_t row = b * T_;
  // Token t of the T + 1 is what row t reads and what row t - 1 predicts.
  const auto put = [&](std::int64_t t, std::int32_t id, RowRole role) {
    if (t < T_) batch.tokens[static_cast<std::size_t>(row + t)] = id;
    if (t == 0) return;
    const auto predictor = static_cast<std::size_t>(row + t - 1);
    const bool counts = role == RowRole::kAnswer || !task_.loss_on_answer;
    batch.targets[predictor] = counts ? id : -1;
    batch.roles[predictor] = role;
  };
  std::fill_n(batch.first.begin() + row, T_, static_cast<std::int32_t>(row));

  const Rng filler = stream_of(seed_, index, 0, kFiller);
  const auto size = static_cast<std::int64_t>(haystack_->size());
  const auto from = size > 0 ? static_cast<std::int64_t>(filler.below(0, haystack_->size())) : 0;
  put(0, ByteTokenizer::kBos, RowRole::kContext);
  for (std::int64_t t = 1; t <= T_; ++t) {
    char byte = 0;
    if (size > 0) {
      byte = (*haystack_)[static_cast<std::size_t>((from + t) % size)];
    } else {
      const std::uint64_t letter = filler.below(static_cast<std::uint64_t>(t), 27);
      byte = letter == 26 ? ' ' : static_cast<char>('a' + letter);
    }
    put(t, id_of(byte), RowRole::kContext);
  }

  const Choices choices = choose(index);
  if (task_.kind == TaskKind::kCopy) {
    std::int64_t t = T_ - 1 - 2 * layout_.length;
    put(t++, id_of('#'), RowRole::kContext);
    for (std::int64_t j = 0; j < layout_.length; ++j) {
      put(t++, id_of(choices.letter(j)), RowRole::kContext);
    }
    put(t++, id_of('='), RowRole::kContext);
    for (std::int64_t j = 0; j < layout_.length; ++j) {
      put(t++, id_of(choices.letter(j)), RowRole::kAnswer);
    }
    return;
  }
  const auto put_pair = [&](std::int64_t pair, std::int64_t t, RowRole role_of_value) {
    put(t++, id_of('#'), RowRole::kContext);
    for (std::int64_t j = 0; j < task_.key_length; ++j) {
      put(t++, id_of(choices.key(pair, j)), RowRole::kContext);
    }
    put(t++, id_of('='), RowRole::kContext);
    for (std::int64_t j = 0; j < task_.value_length; ++j) {
      put(t++, id_of(choices.value(pair, j)), role_of_value);
    }
  };
  for (std::int64_t i = 0; i < task_.pairs; ++i) {
    put_pair(i, choices.begin(i), RowRole::kContext);
  }
  for (std::int64_t q = 0; q < layout_.queries; ++q) {
    put_pair(choices.asked(q), choices.query_begin(q), RowRole::kAnswer);
  }
}

}  // namespace shoal
