#include "server/rpc/answer_stream.h"

#include <algorithm>
#include <utility>

#include "server/rpc/status.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

// Of one message: where the caller reads slowly, pieces gather.
constexpr size_t kPieceBytes = 16 << 10;
// Of what a generator says about itself.
constexpr size_t kReasonBytes = 64;
constexpr size_t kModelBytes = 256;

bool Continues(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

}  // namespace

void AnswerBuffer::Add(std::string_view piece, std::optional<GeneratorEnd> end) {
  std::function<void()> wake;
  {
    absl::MutexLock lock(&mutex_);
    if (ended_) return;
    text_.append(piece);
    if (end.has_value()) {
      ended_ = true;
      end_ = std::move(end);
    }
    wake.swap(wake_);
  }
  if (wake) wake();
}

bool AnswerBuffer::Text(std::string_view piece) {
  bool full = false;
  {
    absl::MutexLock lock(&mutex_);
    if (ended_) return false;
    bytes_ += piece.size();
    full = bytes_ > kMaxAnswerBytes;
  }
  if (full) {
    Add("", GeneratorEnd{.status = NotRetryable(absl::ResourceExhaustedError(
                             Concat("the answer has more than ", kMaxAnswerBytes,
                                    " bytes and was cut off; lower max_answer_tokens"))),
                         .finish_reason = {},
                         .model = {}});
    return false;
  }
  Add(piece, std::nullopt);
  return true;
}

void AnswerBuffer::End(GeneratorEnd end) { Add("", std::move(end)); }

bool AnswerBuffer::Ready(const std::function<void()>& wake) {
  absl::MutexLock lock(&mutex_);
  if (!text_.empty() || ended_) return true;
  wake_ = wake;
  return false;
}

std::string AnswerBuffer::TakeText(size_t max_bytes) {
  absl::MutexLock lock(&mutex_);
  if (text_.size() <= max_bytes) return std::exchange(text_, {});
  size_t end = max_bytes;
  while (end > 0 && Continues(text_[end])) --end;
  std::string taken = text_.substr(0, end);
  text_.erase(0, end);
  return taken;
}

std::optional<GeneratorEnd> AnswerBuffer::TakeEnd() {
  absl::MutexLock lock(&mutex_);
  if (!text_.empty()) return std::nullopt;
  return std::exchange(end_, std::nullopt);
}

AnswerStream::AnswerStream(AnswerParts parts, std::shared_ptr<AnswerBuffer> buffer,
                           std::unique_ptr<Generation> generation, absl::Status started,
                           size_t max_message_bytes)
    : parts_(std::move(parts)),
      buffer_(std::move(buffer)),
      generation_(std::move(generation)),
      started_(std::move(started)),
      max_message_bytes_(max_message_bytes) {}

bool AnswerStream::Ready(const std::function<void()>& wake) {
  return step_ != Step::kAnswer || buffer_ == nullptr || buffer_->Ready(wake);
}

absl::StatusOr<bool> AnswerStream::Fill(v1::AnswerQuestionResponse* response) {
  switch (step_) {
    case Step::kSources:
      *response->mutable_sources() = std::move(parts_.sources);
      step_ = parts_.prompt.has_value() ? Step::kPrompt : Step::kAnswer;
      return true;
    case Step::kPrompt:
      response->set_prompt(*std::exchange(parts_.prompt, std::nullopt));
      step_ = Step::kAnswer;
      return true;
    case Step::kAnswer: {
      GeneratorEnd end{.status = started_, .finish_reason = {}, .model = {}};
      if (buffer_ != nullptr) {
        if (std::string text = buffer_->TakeText(kPieceBytes); !text.empty()) {
          response->set_answer(std::move(text));
          return true;
        }
        std::optional<GeneratorEnd> taken = buffer_->TakeEnd();
        if (!taken.has_value()) return absl::InternalError("an answer was waited for in vain");
        end = *std::move(taken);
      }
      FillEnd(std::move(end), response->mutable_end());
      generation_ = nullptr;
      step_ = Step::kDone;
      return true;
    }
    case Step::kDone:
      break;
  }
  return false;
}

void AnswerStream::FillEnd(GeneratorEnd end, v1::AnswerEnd* out) {
  out->set_finish_reason(Printable(end.finish_reason, kReasonBytes));
  ToRpcStatus(end.status, out->mutable_generator_status());
  out->set_generator_model(Printable(end.model, kModelBytes));
  out->set_prompt_token_count(parts_.prompt_token_count);
}

}  // namespace vecino::rpc
