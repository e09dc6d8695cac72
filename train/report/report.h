#pragma once
#include <string>

#include "train/metrics/run_history.h"

namespace shoal {

struct ReportInput {
  std::string name;  // of the run
  RunHistory history;
  std::string config;  // config.yaml as it is; empty: none
};

// A page that needs nothing else: charts are inline SVG, there is no script, and its own content
// policy forbids loading anything. All text of the run is escaped.
std::string render_report(const ReportInput& input);

// Validation bits per byte, and the training loss on the same scale, as an SVG of its own.
std::string render_curve(const ReportInput& input);

// Reads metrics.jsonl and config.yaml of the folder, writes report.html and curve.svg into it
// (each is replaced at once) and returns the path of report.html. Throws Error(kUsage) for a
// folder that holds no run, Error(kDisk) if it cannot be read or written. Where `give_up` says yes
// while the metrics are read, nothing is written.
std::string write_report(const std::string& run_dir, const GiveUp& give_up = nullptr);

}  // namespace shoal
