// The messages of AnswerQuestion: sources, prompt, pieces of the answer, end.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/rpc/generator.h"
#include "server/rpc/message_stream.h"
#include "vecino/v1/search_service.pb.h"

namespace vecino::rpc {

// Of an answer; one that goes on is cut off with RESOURCE_EXHAUSTED.
inline constexpr size_t kMaxAnswerBytes = 4 << 20;

// What a generator has said and the caller has not been sent. Thread safety: all methods are safe
// from any thread; none blocks.
class AnswerBuffer final : public GeneratorSink {
 public:
  bool Text(std::string_view piece) override;
  void End(GeneratorEnd end) override;

  // Whether there is something to take; if not, `wake` is called when there is. One wait at a time.
  bool Ready(const std::function<void()>& wake);
  // The text that has come, up to `max_bytes` (≥ 4) of whole characters; empty when there is none.
  std::string TakeText(size_t max_bytes);
  // How the answer ended, once its text was taken; nullopt before.
  std::optional<GeneratorEnd> TakeEnd();

 private:
  void Add(std::string_view piece, std::optional<GeneratorEnd> end);

  absl::Mutex mutex_;
  std::string text_ ABSL_GUARDED_BY(mutex_);
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // of all text so far
  std::optional<GeneratorEnd> end_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;  // nothing comes any more
  std::function<void()> wake_ ABSL_GUARDED_BY(mutex_);
};

// What an AnswerStream sends besides the answer.
struct AnswerParts {
  v1::AnswerSources sources;
  std::optional<std::string> prompt;  // to be sent
  int prompt_token_count = 0;
};

class AnswerStream final : public TypedStream<v1::AnswerQuestionResponse> {
 public:
  // buffer: of the answer, null when there is no generator or `started` is an error; then
  // `generation` is null as well. max_message_bytes: that sources and prompt fit into.
  AnswerStream(AnswerParts parts, std::shared_ptr<AnswerBuffer> buffer,
               std::unique_ptr<Generation> generation, absl::Status started,
               size_t max_message_bytes);

  bool Ready(const std::function<void()>& wake) override;

 private:
  enum class Step { kSources, kPrompt, kAnswer, kDone };

  size_t max_message_bytes() const override { return max_message_bytes_; }
  absl::StatusOr<bool> Fill(v1::AnswerQuestionResponse* response) override;
  void FillEnd(GeneratorEnd end, v1::AnswerEnd* out);

  AnswerParts parts_;
  const std::shared_ptr<AnswerBuffer> buffer_;
  std::unique_ptr<Generation> generation_;
  const absl::Status started_;
  const size_t max_message_bytes_;
  Step step_ = Step::kSources;
};

}  // namespace vecino::rpc
