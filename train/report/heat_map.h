#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "train/metrics/records.h"

namespace shoal {

// The load of a layer's experts over time: a row per expert (of many experts, per group of
// neighbours), a column per stretch of steps. A colour is the share of the tokens relative to an
// even split, in half octaves from a quarter to four times.
struct LoadColumn {
  std::int64_t first_step = 0, last_step = 0;
  std::vector<double> relative;  // per expert; 1: an even share
};

// Adds up the loads of stretches of records of one layer, which must come in order of steps.
// Records whose number of experts differs from the last one's are left out.
std::vector<LoadColumn> load_columns(std::span<const LayerRecord> records, std::size_t most);

// label: what readers who cannot see it hear. Style from chart_style() and heat_map_style().
std::string heat_map_svg(std::span<const LoadColumn> columns, const std::string& label);
std::string heat_map_key_html();  // what the colours mean
std::string heat_map_style();

}  // namespace shoal
