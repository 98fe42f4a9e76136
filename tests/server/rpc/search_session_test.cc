#include "server/rpc/search_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <map>
#include <thread>

#include "tests/server/rpc/server_fixture.h"
#include "vecino/v1/search_service.grpc.pb.h"

namespace vecino::rpc {
namespace {

using testing::HasSubstr;

class SearchSessionTest : public ServerTest {
 protected:
  void Start(ServerOptions options = {}) {
    engine_.search_result.hits.resize(2);
    engine_.search_result.hits[0].document.id = "a";
    engine_.search_result.hits[1].document.id = "b";
    ServerTest::Start(std::move(options));
    server_->Serve(handlers_->Methods(), handlers_->Streams(), handlers_->Shorts(),
                   Handlers::Bulk(), handlers_->Bidis());
    stub_ = v1::SearchService::NewStub(channel_);
  }
  ~SearchSessionTest() override { Stop(); }

  static v1::StreamSearchDocumentsRequest Query(int64_t id) {
    v1::StreamSearchDocumentsRequest request;
    request.set_query_id(id);
    request.mutable_request()->set_parent("collections/c");
    request.mutable_request()->set_text("what");
    return request;
  }

  std::unique_ptr<v1::SearchService::Stub> stub_;
};

TEST_F(SearchSessionTest, AnswersComeByTheirNumbersAndErrorsStopNothing) {
  Start();
  grpc::ClientContext context;
  const auto stream = stub_->StreamSearchDocuments(&context);
  auto writer = std::async(std::launch::async, [&] {
    for (int64_t i = 0; i < 300; ++i) {
      v1::StreamSearchDocumentsRequest request = Query(i);
      if (i == 7) request.mutable_request()->set_parent("nonsense");
      if (i == 9) request.clear_request();
      stream->Write(request);
    }
    stream->WritesDone();
  });
  std::map<int64_t, v1::StreamSearchDocumentsResponse> answers;
  for (v1::StreamSearchDocumentsResponse answer; stream->Read(&answer);) {
    EXPECT_TRUE(answers.emplace(answer.query_id(), answer).second);
  }
  writer.get();
  EXPECT_TRUE(stream->Finish().ok());
  ASSERT_EQ(answers.size(), 300u);
  EXPECT_EQ(answers[0].response().hits_size(), 2);
  EXPECT_FALSE(answers[0].has_status());
  EXPECT_EQ(answers[7].status().code(), 3);
  EXPECT_THAT(answers[7].status().message(), HasSubstr("request.parent"));
  EXPECT_FALSE(answers[7].has_response());
  EXPECT_THAT(answers[9].status().message(), HasSubstr("request: is missing"));
}

TEST_F(SearchSessionTest, SeveralRunAtOnceButNoMoreThanThat) {
  std::atomic<int> running{0}, most{0};
  std::promise<void> go;
  const std::shared_future<void> gone = go.get_future().share();
  engine_.on_search = [&](const engine::CallContext&) {
    const int now = ++running;
    int before = most;
    while (before < now && !most.compare_exchange_weak(before, now)) {
    }
    gone.wait();
    --running;
    return absl::OkStatus();
  };
  Start();
  grpc::ClientContext context;
  const auto stream = stub_->StreamSearchDocuments(&context);
  for (int64_t i = 0; i < 50; ++i) stream->Write(Query(i));
  while (most < SearchSession::kAtOnce) std::this_thread::yield();
  go.set_value();
  stream->WritesDone();
  int answers = 0;
  for (v1::StreamSearchDocumentsResponse answer; stream->Read(&answer);) ++answers;
  EXPECT_EQ(answers, 50);
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(most, SearchSession::kAtOnce);
}

TEST_F(SearchSessionTest, AMessageThatIsNoneEndsTheStreamNamingTheField) {
  Start();
  grpc::ClientContext context;
  const auto stream = stub_->StreamSearchDocuments(&context);
  v1::StreamSearchDocumentsRequest request = Query(1);
  request.mutable_request()->set_text("\xff not UTF-8");
  stream->Write(request);
  v1::StreamSearchDocumentsResponse answer;
  EXPECT_FALSE(stream->Read(&answer));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("request.text"));
}

}  // namespace
}  // namespace vecino::rpc
