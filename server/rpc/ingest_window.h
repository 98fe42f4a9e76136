// How much a caller of IngestDocuments may have on its way.
#pragma once

#include <cstdint>

namespace vecino::rpc {

// Grows by steps while things go well, up to what pressure leaves; halves when the engine refuses.
// Thread safety: none; the session's lock guards it.
class IngestWindow {
 public:
  static constexpr int kMaxDocuments = 2048;
  static constexpr int64_t kMaxBytes = 8 << 20;
  static constexpr int64_t kMinBytes = 64 << 10;

  // Items that may be on their way, at least 1.
  int documents() const { return documents_; }
  // Bytes of them; one item is always allowed.
  int64_t bytes() const { return bytes_; }

  // Something was done. pressure: 0 to 1, see engine::IngestPressure. byte_share: of the memory for
  // all streams, this one's.
  void Done(double pressure, int64_t byte_share);
  // The engine's queues are full.
  void Refused();

  // Whether it differs from what Told last saw by more than an eighth.
  bool WorthTelling() const;
  void Told();

 private:
  int documents_ = kMaxDocuments;
  int64_t bytes_ = kMaxBytes;
  int told_documents_ = 0;  // nothing yet
  int64_t told_bytes_ = 0;
};

}  // namespace vecino::rpc
