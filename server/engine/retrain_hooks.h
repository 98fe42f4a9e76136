// What tests put into a retrain.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

namespace vecino::engine {

struct RetrainHooks {
  // Called at the beginning of each stage (see Operation::Part) and at each of its pauses, on the
  // maintenance thread, with no lock held. "published" and "rejected" at the end. Of a tuning
  // "measuring", before each 16 queries, and "storing", on the thread of tunings.
  std::function<void(std::string_view stage)> at;
  // Given the sample before training.
  std::function<void(std::vector<float>* sample)> spoil;
  int nlist = 0;  // lists, whatever the rows; 0: as ever
};

}  // namespace vecino::engine
