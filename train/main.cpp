#include <iostream>
#include <vector>
#include "train/interop/parity.h"
int main(int argc, char** argv) {
  try {
    std::vector<shoal::ParityRun> runs;
    std::vector<shoal::ParityComparison> c;
    for (int i = 1; i < argc; ++i) { runs.push_back(shoal::run_parity(argv[i])); c.push_back(*runs.back().comparison); }
    shoal::print_parity(std::cout, c);
    std::cout << shoal::parity_json(c).dump() << "\n";
    for (auto& t : c[0].all()) if (!t.passed()) std::cout << t.name << " " << t.error << " tol " << t.tolerance << "\n";
  } catch (const std::exception& e) { std::cerr << e.what() << "\n"; return 1; }
}
