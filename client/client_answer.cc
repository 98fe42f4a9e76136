// Client's call that has a question answered.
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/conversions.h"
#include "client/error_details.h"
#include "client/impl.h"
#include "client/rerank_conversions.h"
#include "client/search_conversions.h"
#include "client/vecino/client.h"

namespace vecino {
namespace {

// Hands the messages of one stream to a sink and sees that they come in order.
class Receiver {
 public:
  explicit Receiver(AnswerSink* sink) : sink_(*sink) {}

  bool begun() const { return begun_; }

  Status Take(const v1::AnswerQuestionResponse& message) {
    if (end_.has_value()) return Broken("something came after its end");
    if (message.has_sources() == begun_) return Broken("its sources are not its first message");
    switch (message.part_case()) {
      case v1::AnswerQuestionResponse::kSources: {
        begun_ = true;
        v1::SearchDocumentsResponse found;
        *found.mutable_hits() = message.sources().sources();
        Status status =
            sink_.Sources(internal::FromProto(found).hits, message.sources().left_out());
        if (!status.ok() || !message.sources().has_reranked()) return status;
        return sink_.Reranked(internal::FromProto(message.sources().reranked()));
      }
      case v1::AnswerQuestionResponse::kPrompt:
        return sink_.Prompt(message.prompt());
      case v1::AnswerQuestionResponse::kAnswer:
        return sink_.Answer(message.answer());
      case v1::AnswerQuestionResponse::kEnd:
        end_ = AnswerEnd{.finish_reason = message.end().finish_reason(),
                         .generator_status = internal::FromRpc(message.end().generator_status()),
                         .generator_model = message.end().generator_model(),
                         .prompt_token_count = message.end().prompt_token_count()};
        return Status();
      case v1::AnswerQuestionResponse::PART_NOT_SET:
        break;
    }
    return Status();  // of a later version
  }

  Result<AnswerEnd> End() const {
    if (end_.has_value()) return *end_;
    return Broken("it ended too soon");
  }

 private:
  static Status Broken(const std::string& what) {
    return Status(Code::kDataLoss, "the server's stream is broken: " + what);
  }

  AnswerSink& sink_;
  bool begun_ = false;
  std::optional<AnswerEnd> end_;
};

}  // namespace

Status AnswerSink::Reranked(const vecino::Reranked&) { return Status(); }

Result<AnswerEnd> Client::Answer(const std::string& collection, const std::string& question,
                                 const AnswerOptions& options, AnswerSink& sink) {
  using internal::CheckUtf8;
  if (Status status = CheckUtf8(collection, "parent"); !status.ok()) return status;
  if (Status status = CheckUtf8(question, "question"); !status.ok()) return status;
  if (Status status = CheckUtf8(options.filter, "filter"); !status.ok()) return status;
  if (Status status = CheckUtf8(options.prompt_template, "prompt_template"); !status.ok()) {
    return status;
  }
  v1::AnswerQuestionRequest request;
  request.set_parent(internal::CollectionName(collection));
  request.set_question(question);
  request.set_top_k(options.top_k);
  request.set_filter(options.filter);
  request.set_prompt_template(options.prompt_template);
  if (options.prompt_token_budget != 0) {
    request.set_prompt_token_budget(options.prompt_token_budget);
  }
  if (options.max_answer_tokens != 0) request.set_max_answer_tokens(options.max_answer_tokens);
  if (options.temperature.has_value()) request.set_temperature(*options.temperature);
  request.set_return_prompt(options.return_prompt);
  request.set_hybrid(options.hybrid);
  if (options.reranking.has_value()) {
    const Status status = internal::ToProto(*options.reranking, request.mutable_rerank());
    if (!status.ok()) return status;
  }

  Receiver receiver(&sink);
  Status ours;  // ends the call whatever the server says
  const Status status = internal::CallWithRetry(impl_->options, [&](grpc::ClientContext* context) {
    v1::AnswerQuestionResponse message;
    const auto reader = impl_->search->AnswerQuestion(context, request);
    while (ours.ok() && reader->Read(&message)) ours = receiver.Take(message);
    if (!ours.ok()) context->TryCancel();
    grpc::Status reply = reader->Finish();
    // What the sink has taken cannot be taken back, so no other attempt follows.
    if (ours.ok() && receiver.begun()) {
      if (!reply.ok()) ours = internal::FromGrpc(reply);
      return grpc::Status::OK;
    }
    return ours.ok() ? reply : grpc::Status::OK;
  });
  if (!ours.ok() || !status.ok()) return ours.ok() ? status : ours;
  return receiver.End();
}

}  // namespace vecino
