// AnswerQuestion over a fake engine and a generator that the test speaks for.
#include "server/rpc/answer_handlers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <thread>

#include "server/rpc/answer_stream.h"
#include "server/rpc/prompt.h"
#include "server/rpc/wire.h"
#include "tests/server/rpc/handlers_fixture.h"

namespace vecino::rpc {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Remembers what it was asked; the test is what answers.
class FakeGenerator final : public Generator {
 public:
  absl::StatusOr<std::unique_ptr<Generation>> Start(GeneratorRequest asked,
                                                    std::shared_ptr<GeneratorSink> to) override {
    request = std::move(asked);
    if (!failure.ok()) return failure;
    sink = std::move(to);
    ++under_way;
    return std::make_unique<Handle>(this);
  }

  GeneratorRequest request;
  absl::Status failure;
  std::shared_ptr<GeneratorSink> sink;
  int under_way = 0;

 private:
  struct Handle : Generation {
    explicit Handle(FakeGenerator* of) : generator(*of) {}
    ~Handle() override { --generator.under_way; }
    FakeGenerator& generator;
  };
};

class AnswerHandlersTest : public HandlersTest {
 protected:
  AnswerHandlersTest() {
    request_.set_parent("collections/c");
    request_.set_question("why?");
    engine_.search_result.hits = {{Stored("a", "first text"), 0.9f},
                                  {Stored("b", ""), 0.8f},
                                  {Stored("c", "third text"), 0.7f}};
  }

  absl::StatusOr<std::unique_ptr<MessageStream>> Ask(bool with_generator = true) {
    AnswerHandlers handlers(&engine_, with_generator ? &generator_ : nullptr, 64 << 10);
    return handlers.AnswerQuestion(request_, context_);
  }
  // The next message, which must be there.
  v1::AnswerQuestionResponse Next(MessageStream& stream) {
    v1::AnswerQuestionResponse response;
    EXPECT_TRUE(stream.Ready([] {}));
    grpc::ByteBuffer bytes;
    const auto more = stream.Next(&bytes);
    EXPECT_TRUE(more.ok()) << more.status();
    EXPECT_TRUE(more.ok() && *more);
    EXPECT_TRUE(ReadMessage(bytes, &response).ok());
    return response;
  }
  static bool Over(MessageStream& stream) {
    grpc::ByteBuffer bytes;
    const auto more = stream.Next(&bytes);
    return stream.Ready([] {}) && more.ok() && !*more;
  }

  v1::AnswerQuestionRequest request_;
  FakeGenerator generator_;
};

TEST_F(AnswerHandlersTest, WithoutAGeneratorSourcesPromptAndEnd) {
  const auto stream = Ask(/*with_generator=*/false);
  ASSERT_TRUE(stream.ok()) << stream.status();
  const auto sources = Next(**stream);
  ASSERT_EQ(sources.sources().sources_size(), 2);
  EXPECT_EQ(sources.sources().sources(0).document().id(), "a");
  EXPECT_EQ(sources.sources().sources(1).document().id(), "c");
  EXPECT_FLOAT_EQ(sources.sources().sources(1).score(), 0.7f);
  EXPECT_EQ(sources.sources().left_out(), 1);  // it has no text
  const std::string prompt = Next(**stream).prompt();
  EXPECT_THAT(prompt, HasSubstr("[1] first text\n\n[2] third text"));
  EXPECT_THAT(prompt, HasSubstr("Question: why?"));
  const auto end = Next(**stream);
  ASSERT_TRUE(end.has_end());
  EXPECT_EQ(end.end().generator_status().code(), 0);
  EXPECT_EQ(end.end().generator_model(), "");
  EXPECT_EQ(end.end().finish_reason(), "");
  EXPECT_GT(end.end().prompt_token_count(), 30);
  EXPECT_TRUE(Over(**stream));
  EXPECT_EQ(engine_.collection, "c");
  EXPECT_EQ(engine_.search.top_k, 5);
  EXPECT_EQ(std::get<engine::TextQuery>(engine_.search.query).text, "why?");
  EXPECT_TRUE(engine_.search.parts.text && engine_.search.parts.metadata);
  EXPECT_FALSE(engine_.search.parts.vector);
}

TEST_F(AnswerHandlersTest, FilterAndWordsGoToTheSearch) {
  request_.set_filter("metadata.year >= 2000");
  ASSERT_TRUE(Ask().ok());
  EXPECT_EQ(engine_.search.filter, "metadata.year >= 2000");
  EXPECT_TRUE(std::holds_alternative<engine::TextQuery>(engine_.search.query));
  request_.set_hybrid(true);
  ASSERT_TRUE(Ask().ok());
  const auto* both = std::get_if<engine::HybridQuery>(&engine_.search.query);
  ASSERT_NE(both, nullptr);
  EXPECT_EQ(std::get<engine::TextQuery>(both->dense).text, "why?");
  EXPECT_EQ(both->words, "why?");
}

TEST_F(AnswerHandlersTest, PiecesComeAsTheyAreSaidAndTheStreamWaitsBetween) {
  request_.set_max_answer_tokens(7);
  request_.set_temperature(0.5);
  const auto stream = Ask();
  ASSERT_TRUE(stream.ok()) << stream.status();
  EXPECT_EQ(generator_.request.max_tokens, 7);
  EXPECT_EQ(generator_.request.temperature, 0.5f);
  EXPECT_THAT(generator_.request.prompt, HasSubstr("[2] third text"));
  EXPECT_TRUE(Next(**stream).has_sources());
  int woken = 0;
  const auto wake = [&] { ++woken; };
  EXPECT_FALSE((*stream)->Ready(wake));  // no prompt: it was not asked for
  EXPECT_TRUE(generator_.sink->Text("Be"));
  EXPECT_EQ(woken, 1);
  EXPECT_EQ(Next(**stream).answer(), "Be");
  EXPECT_FALSE((*stream)->Ready(wake));
  EXPECT_TRUE(generator_.sink->Text("cau"));
  EXPECT_TRUE(generator_.sink->Text("se."));
  EXPECT_EQ(woken, 2);
  EXPECT_EQ(Next(**stream).answer(), "cause.");  // a caller that is slow gets them together
  EXPECT_FALSE((*stream)->Ready(wake));
  generator_.sink->End({.status = absl::OkStatus(), .finish_reason = "stop", .model = "m"});
  EXPECT_EQ(woken, 3);
  const auto end = Next(**stream);
  EXPECT_EQ(end.end().finish_reason(), "stop");
  EXPECT_EQ(end.end().generator_model(), "m");
  EXPECT_EQ(generator_.under_way, 0);
  EXPECT_TRUE(Over(**stream));
}

TEST_F(AnswerHandlersTest, ThePromptComesTooWhenAskedFor) {
  request_.set_return_prompt(true);
  request_.set_prompt_template("{question}<{sources}>");
  const auto stream = Ask();
  ASSERT_TRUE(stream.ok()) << stream.status();
  EXPECT_TRUE(Next(**stream).has_sources());
  EXPECT_EQ(Next(**stream).prompt(), "why?<[1] first text\n\n[2] third text>");
  EXPECT_EQ(generator_.request.prompt, "why?<[1] first text\n\n[2] third text>");
  EXPECT_EQ(generator_.request.max_tokens, 0);
  EXPECT_FALSE(generator_.request.temperature.has_value());
}

TEST_F(AnswerHandlersTest, SourcesComeAlsoWhenTheGeneratorFails) {
  generator_.failure = absl::ResourceExhaustedError("busy");
  {
    const auto stream = Ask();
    ASSERT_TRUE(stream.ok()) << stream.status();
    EXPECT_EQ(Next(**stream).sources().sources_size(), 2);
    const auto end = Next(**stream);
    EXPECT_EQ(end.end().generator_status().code(), 8);
    EXPECT_EQ(end.end().generator_status().message(), "busy");
    EXPECT_TRUE(Over(**stream));
  }
  generator_.failure = absl::OkStatus();
  const auto stream = Ask();
  ASSERT_TRUE(stream.ok()) << stream.status();
  generator_.sink->Text("half an ans");
  generator_.sink->End(
      {.status = absl::UnavailableError("it broke off"), .finish_reason = {}, .model = {}});
  EXPECT_EQ(Next(**stream).sources().sources_size(), 2);
  EXPECT_EQ(Next(**stream).answer(), "half an ans");
  const auto end = Next(**stream);
  EXPECT_EQ(end.end().generator_status().code(), 14);
  EXPECT_EQ(end.end().generator_status().message(), "it broke off");
}

TEST_F(AnswerHandlersTest, AStreamThatIsDroppedGivesTheAnswerUp) {
  {
    const auto stream = Ask();
    ASSERT_TRUE(stream.ok());
    EXPECT_EQ(generator_.under_way, 1);
  }
  EXPECT_EQ(generator_.under_way, 0);
  generator_.sink->Text("late");  // what was on its way does no harm
  generator_.sink->End({});
}

TEST_F(AnswerHandlersTest, LongAnswersAreCutIntoMessagesAndAtAnEnd) {
  const auto stream = Ask();
  ASSERT_TRUE(stream.ok());
  std::string all;
  for (int i = 0; i < 20'000; ++i) all += "é猫";
  ASSERT_TRUE(generator_.sink->Text("x" + all));
  Next(**stream);
  std::string got;
  while (got.size() < all.size() + 1) {
    const std::string piece = Next(**stream).answer();  // parsed: so it is UTF-8
    ASSERT_GT(piece.size(), 0u);
    ASSERT_LE(piece.size(), 16u << 10);
    got += piece;
  }
  EXPECT_EQ(got, "x" + all);
  const std::string chunk(1 << 20, 'y');
  int taken = 0;
  while (generator_.sink->Text(chunk)) ASSERT_LT(++taken, 5);
  EXPECT_EQ(taken, 3);
  v1::AnswerQuestionResponse last = Next(**stream);
  while (last.has_answer()) last = Next(**stream);
  EXPECT_EQ(last.end().generator_status().code(), 8);
  EXPECT_THAT(last.end().generator_status().message(), HasSubstr("max_answer_tokens"));
  generator_.sink->End({});  // of no effect any more
  EXPECT_TRUE(Over(**stream));
}

TEST_F(AnswerHandlersTest, ATalkingGeneratorAndAReaderLoseNothing) {
  const auto stream = Ask();
  ASSERT_TRUE(stream.ok());
  constexpr int kPieces = 20'000;
  std::thread talker([sink = generator_.sink] {
    for (int i = 0; i < kPieces; ++i) sink->Text(std::to_string(i % 10));
    sink->End({.status = absl::OkStatus(), .finish_reason = "stop", .model = {}});
  });
  EXPECT_TRUE(Next(**stream).has_sources());
  std::string got;
  while (true) {
    const auto shared = std::make_shared<std::atomic<bool>>(false);
    if (!(*stream)->Ready([shared] { shared->store(true); })) {
      while (!shared->load()) std::this_thread::yield();
      continue;
    }
    const auto message = Next(**stream);
    if (message.has_end()) break;
    got += message.answer();
  }
  talker.join();
  ASSERT_EQ(got.size(), kPieces);
  for (int i = 0; i < kPieces; ++i) ASSERT_EQ(got[i], '0' + i % 10);
}

TEST_F(AnswerHandlersTest, BadFieldsAreNamed) {
  const auto refused = [&](const char* field, auto change) {
    const v1::AnswerQuestionRequest good = request_;
    change(request_);
    const auto stream = Ask();
    EXPECT_EQ(engine::FieldOf(stream.status()), field) << stream.status();
    EXPECT_TRUE(absl::IsInvalidArgument(stream.status()));
    request_ = good;
  };
  using Request = v1::AnswerQuestionRequest;
  refused("parent", [](Request& r) { r.set_parent("c"); });
  refused("question", [](Request& r) { r.clear_question(); });
  refused("question", [](Request& r) { r.set_question(std::string((64 << 10) + 1, 'q')); });
  refused("top_k", [](Request& r) { r.set_top_k(0); });
  refused("top_k", [](Request& r) { r.set_top_k(101); });
  refused("prompt_template", [](Request& r) { r.set_prompt_template("no placeholders"); });
  refused("prompt_token_budget", [](Request& r) { r.set_prompt_token_budget(63); });
  refused("prompt_token_budget", [](Request& r) { r.set_prompt_token_budget(1'000'001); });
  refused("prompt_token_budget", [](Request& r) {
    r.set_prompt_token_budget(64);
    r.set_question("a question of so many words that nothing else fits " + std::string(2000, 'x'));
  });
  refused("max_answer_tokens", [](Request& r) { r.set_max_answer_tokens(0); });
  refused("max_answer_tokens", [](Request& r) { r.set_max_answer_tokens(100'001); });
  refused("temperature", [](Request& r) { r.set_temperature(-0.1f); });
  refused("temperature", [](Request& r) { r.set_temperature(2.1f); });
  refused("temperature",
          [](Request& r) { r.set_temperature(std::numeric_limits<float>::quiet_NaN()); });
  EXPECT_TRUE(Ask().ok());
}

TEST_F(AnswerHandlersTest, ErrorsOfTheSearchAreTheCalls) {
  engine_.failure = absl::FailedPreconditionError("no model");
  EXPECT_TRUE(absl::IsFailedPrecondition(Ask().status()));
  EXPECT_EQ(generator_.under_way, 0);
  engine_.failure = absl::OkStatus();
  // More than a reply may have: told, not cut off.
  engine_.search_result.hits[0].document.text = std::string(70'000, 'x');
  const auto large = Ask();
  EXPECT_TRUE(absl::IsResourceExhausted(large.status())) << large.status();
  EXPECT_THAT(std::string(large.status().message()), HasSubstr("lower top_k"));
}

TEST_F(AnswerHandlersTest, ACallThatIsOverBuildsNoPrompt) {
  context_.deadline = absl::InfinitePast();
  EXPECT_TRUE(absl::IsDeadlineExceeded(Ask().status()));
  context_.deadline = absl::InfiniteFuture();
  std::stop_source stop;
  context_.stop = stop.get_token();
  stop.request_stop();
  EXPECT_TRUE(absl::IsCancelled(Ask().status()));
}

}  // namespace
}  // namespace vecino::rpc
