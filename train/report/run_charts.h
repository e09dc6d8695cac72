#pragma once
#include <string>
#include <vector>

#include "train/metrics/run_history.h"
#include "train/report/line_chart.h"

namespace shoal {

// Was it a task that the run was validated on? Then there are no bits per byte.
bool has_answers(const RunHistory& history);

// The charts of one run. A chart whose numbers are all zero or missing has no series.
LineChart cross_entropy_chart(const RunHistory& history);
LineChart bits_per_byte_chart(const RunHistory& history);    // validation only
LineChart answer_accuracy_chart(const RunHistory& history);  // of a task
LineChart loss_parts_chart(const RunHistory& history);
LineChart grad_norm_chart(const RunHistory& history);
LineChart lr_chart(const RunHistory& history);
LineChart throughput_chart(const RunHistory& history);
LineChart peak_share_chart(const RunHistory& history);
LineChart clamp_chart(const RunHistory& history);
// Load of the busiest expert relative to an even share: of each layer, or for more than eight
// layers of the worst and the mean.
LineChart imbalance_chart(const RunHistory& history);
// Validation bits per byte with the training cross-entropy beside it, turned into bits per byte
// with the ratio that the last evaluation had.
LineChart learning_curve(const RunHistory& history);

// Where a fork left its parent, where spikes were seen, and from where the run went back.
std::vector<LineChart::Mark> event_marks(const RunHistory& history);

// How much of attention each indexer has captured, by layer.
LineChart indexer_chart(const RunHistory& history);
// What FP4 does, by layer: see LayerRecord.
LineChart index_recall_chart(const RunHistory& history);
LineChart fp4_distance_chart(const RunHistory& history);
LineChart fp4_zeros_chart(const RunHistory& history);

// A run's health in numbers, by layer and by group of parameters; what was not recorded is left
// out.
struct NamedChart {
  std::string title, unit;
  LineChart chart;
};
std::vector<NamedChart> health_charts(const RunHistory& history);

// The records of one layer, as the heat map takes them.
struct LayerLoads {
  std::string name;  // "Layer 3", "MTP"
  std::vector<LayerRecord> records;
};
std::vector<LayerLoads> loads_by_layer(const RunHistory& history);

}  // namespace shoal
