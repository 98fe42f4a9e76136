#include "server/rpc/ingest_window.h"

#include <algorithm>
#include <cstdlib>

namespace vecino::rpc {
namespace {

// Back to the most within a few dozen batches.
constexpr int kStepDocuments = IngestWindow::kMaxDocuments / 32;
constexpr int64_t kStepBytes = IngestWindow::kMaxBytes / 32;

}  // namespace

void IngestWindow::Done(double pressure, int64_t byte_share) {
  const double left = 1 - std::clamp(pressure, 0.0, 1.0);
  const int most = std::max(1, static_cast<int>(left * kMaxDocuments));
  const int64_t share = std::clamp(byte_share, kMinBytes, kMaxBytes);
  const int64_t most_bytes =
      std::max(kMinBytes, static_cast<int64_t>(left * static_cast<double>(share)));
  documents_ = std::min(documents_ + kStepDocuments, most);
  bytes_ = std::min(bytes_ + kStepBytes, most_bytes);
}

void IngestWindow::Refused() {
  documents_ = std::max(1, documents_ / 2);
  bytes_ = std::max(kMinBytes, bytes_ / 2);
}

bool IngestWindow::WorthTelling() const {
  return std::abs(documents_ - told_documents_) * 8 > told_documents_ ||
         std::abs(bytes_ - told_bytes_) * 8 > told_bytes_;
}

void IngestWindow::Told() {
  told_documents_ = documents_;
  told_bytes_ = bytes_;
}

}  // namespace vecino::rpc
