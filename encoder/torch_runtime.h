// What the two executors that run by LibTorch share. Includes torch: for their .cc files alone.
#pragma once

#include <c10/core/StreamGuard.h>
#include <torch/script.h>

#include <exception>
#include <optional>
#include <string>

#include "absl/status/status.h"

namespace vecino::encoder {

// Sets torch to one thread, for the process and for the calling thread: parallelism is over
// batches. Cheap when done before. May throw what torch throws.
void UseOneThread();

// The first line of a torch error; the rest is a stack trace.
std::string FirstLine(const std::exception& error);

// What running a model threw; for a catch of everything. RESOURCE_EXHAUSTED: no memory on the
// device. INTERNAL: all else.
absl::Status ModelFailure();

// Waits for what was begun on the device's usual stream, such as weights that were converted there:
// other streams do not.
void WaitForWeights(torch::Device device);

// A stream of its own for each executor, so that on a CUDA device batches of several overlap; of
// urgent ones each kernel goes before those of others that have not begun. Thread safety: none.
class DeviceStream {
 public:
  DeviceStream(torch::Device device, bool urgent) : device_(device), urgent_(urgent) {}

  // What is computed while the guard lives runs on that stream; nothing changes on the CPU.
  c10::OptionalStreamGuard Enter();

 private:
  const torch::Device device_;
  const bool urgent_;
  std::optional<c10::Stream> stream_;  // once it has been entered
};

}  // namespace vecino::encoder
