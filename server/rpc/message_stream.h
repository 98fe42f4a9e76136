// What a method that streams its replies gives: one message after another, pulled.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <new>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/arena.h"
#include "server/engine/types.h"
#include "server/rpc/wire.h"

namespace vecino::rpc {

// Most bytes that a message of a stream has, unless the stream says otherwise.
inline constexpr size_t kMaxStreamMessageBytes = 1 << 20;

// Thread safety: none; it is used by one thread at a time, not always the same.
class MessageStream {
 public:
  virtual ~MessageStream() = default;

  // Whether Next has something to do at once: a message, the end, or an error. Asked by a worker
  // before each Next, the first one too. If not, the call takes no thread until `wake` is called,
  // from any thread, and then asks again; a stop that is asked for (its token, a deadline) ends the
  // wait by itself. `wake` must be called after there is something, if there was not when this
  // returned; also called too often, before this returns, or when the stream is gone, it does no
  // harm. It does not block, and may be called under the stream's locks. Must not block nor throw.
  virtual bool Ready(const std::function<void()>& wake) {
    static_cast<void>(wake);
    return true;
  }

  // Writes the next message into *message; false when there is none any more. Called by a worker,
  // and only once the message before has left the server: so a stream takes the memory of one
  // message, and a caller that does not read takes no thread. May block as a handler may, and must
  // heed the stop token it was opened with. Never throws.
  virtual absl::StatusOr<bool> Next(grpc::ByteBuffer* message) = 0;
};

// Reads the request and opens the stream; an error ends the call. Blocks as a handler does. Never
// throws.
using StreamMethod = std::function<absl::StatusOr<std::unique_ptr<MessageStream>>(
    const grpc::ByteBuffer& request, const engine::CallContext& context)>;

// A stream of one type of message.
template <class Response>
class TypedStream : public MessageStream {
 public:
  absl::StatusOr<bool> Next(grpc::ByteBuffer* message) final {
    google::protobuf::Arena arena;
    try {
      auto* response = google::protobuf::Arena::CreateMessage<Response>(&arena);
      const absl::StatusOr<bool> more = Fill(response);
      if (!more.ok() || !*more) return more;
      message->Clear();  // gRPC writes into an empty one only
      absl::Status status =
          WriteMessage(*response, max_message_bytes(), "this is a fault of the server", message);
      if (!status.ok()) return status;
      return true;
    } catch (const std::bad_alloc&) {
      return absl::ResourceExhaustedError("the server has no memory left for this call");
    }
  }

 private:
  virtual size_t max_message_bytes() const { return kMaxStreamMessageBytes; }
  // The next message, of max_message_bytes at most; false when there is none. May throw
  // std::bad_alloc.
  virtual absl::StatusOr<bool> Fill(Response* response) = 0;
};

}  // namespace vecino::rpc
