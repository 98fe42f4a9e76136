#include "encoder/torch_runtime.h"

#include <ATen/Parallel.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <mutex>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace vecino::encoder {

void UseOneThread() {
  static std::once_flag once;
  std::call_once(once, [] {
    try {
      at::set_num_interop_threads(1);
    } catch (const std::exception&) {
      // Someone in this process has run torch before; its scheduler is not used by frozen models.
    }
    // The profiling executor compiles anew for shapes it has not seen, which every batch may bring.
    torch::jit::getProfilingMode() = false;
    torch::jit::getExecutorMode() = false;
  });
  thread_local const bool done = [] {
    at::set_num_threads(1);
    return true;
  }();
  static_cast<void>(done);
}

std::string FirstLine(const std::exception& error) {
  const std::string_view text = error.what();
  return std::string(text.substr(0, text.find('\n')));
}

absl::Status ModelFailure() {
  try {
    throw;
  } catch (const c10::OutOfMemoryError& error) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "no memory on the model's device: ", FirstLine(error),
        "; lower encoder.batch-tokens or encoder.executors, or leave more of it free"));
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("the model failed: ", FirstLine(error)));
  } catch (...) {
    return absl::InternalError("the model failed with an unknown exception");
  }
}

void WaitForWeights(torch::Device device) {
  if (!device.is_cuda()) return;
  c10::impl::VirtualGuardImpl(device.type())
      .getStream(torch::Device(device.type(), 0))
      .synchronize();
}

c10::OptionalStreamGuard DeviceStream::Enter() {
  if (!device_.is_cuda()) return c10::OptionalStreamGuard();
  if (!stream_) {
    stream_ = c10::impl::VirtualGuardImpl(device_.type())
                  .getStreamFromGlobalPool(torch::Device(device_.type(), 0), urgent_);
  }
  return c10::OptionalStreamGuard(*stream_);
}

}  // namespace vecino::encoder
