// AnswerQuestion of vecino.v1.SearchService without gRPC: checks, searches, builds the prompt, and
// has it answered.
#pragma once

#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"
#include "server/engine/engine.h"
#include "server/rpc/generator.h"
#include "server/rpc/message_stream.h"
#include "vecino/v1/search_service.pb.h"

namespace vecino::rpc {

// Thread safety: safe from any thread; blocks as the engine does, never for the generator. The
// contract is the comment in search_service.proto.
class AnswerHandlers {
 public:
  // `engine` and `generator` must outlive it and its streams. generator: null when the server has
  // none. Neither the sources nor the prompt take more than `max_reply_bytes`.
  AnswerHandlers(engine::Engine* engine, Generator* generator, size_t max_reply_bytes)
      : engine_(*engine), generator_(generator), max_reply_bytes_(max_reply_bytes) {}

  absl::StatusOr<std::unique_ptr<MessageStream>> AnswerQuestion(
      const v1::AnswerQuestionRequest& request, const engine::CallContext& context);

 private:
  engine::Engine& engine_;
  Generator* const generator_;
  const size_t max_reply_bytes_;
};

}  // namespace vecino::rpc
