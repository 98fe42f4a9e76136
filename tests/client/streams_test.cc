// Streams of documents and events, and aliases, against a server that does as it is told.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <vecino/v1/admin_service.grpc.pb.h>
#include <vecino/v1/collection_service.grpc.pb.h>
#include <vecino/v1/document_service.grpc.pb.h>

#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include "vecino/client.h"

namespace vecino {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const grpc::Status kUnavailable(grpc::StatusCode::UNAVAILABLE, "restarting");

class Server final : public v1::DocumentService::Service,
                     public v1::AdminService::Service,
                     public v1::CollectionService::Service {
 public:
  Server() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(static_cast<v1::DocumentService::Service*>(this));
    builder.RegisterService(static_cast<v1::AdminService::Service*>(this));
    builder.RegisterService(static_cast<v1::CollectionService::Service*>(this));
    server_ = builder.BuildAndStart();
  }
  ~Server() override { server_->Shutdown(std::chrono::system_clock::now()); }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  // One call after another; the last is done again. A call sends these ids, one a message, then
  // ends.
  struct Call {
    std::vector<std::string> ids;
    grpc::Status end;
    bool hang = false;  // before the end, until the caller goes
  };
  std::vector<Call> calls;
  std::vector<v1::StreamDocumentsRequest> requests;

  grpc::Status StreamDocuments(grpc::ServerContext* context,
                               const v1::StreamDocumentsRequest* request,
                               grpc::ServerWriter<v1::StreamDocumentsResponse>* writer) override {
    const std::lock_guard lock(mutex_);
    const Call call = calls[std::min(requests.size(), calls.size() - 1)];
    requests.push_back(*request);
    for (const std::string& id : call.ids) {
      v1::StreamDocumentsResponse response;
      response.add_documents()->set_id(id);
      response.set_resume_token("after " + id);
      writer->Write(response);
    }
    while (call.hang && !context->IsCancelled()) std::this_thread::yield();
    return call.end;
  }

  std::vector<v1::WatchEventsResponse> events;
  grpc::Status watch_end;
  v1::WatchEventsRequest watch_request;
  grpc::Status WatchEvents(grpc::ServerContext*, const v1::WatchEventsRequest* request,
                           grpc::ServerWriter<v1::WatchEventsResponse>* writer) override {
    watch_request = *request;
    for (const v1::WatchEventsResponse& event : events) writer->Write(event);
    return watch_end;
  }

  // Loses as many replies to changes of aliases as it is told to.
  int lose_replies = 0;
  std::map<std::string, std::string> aliases;
  grpc::Status Change(const std::string& name, const std::string& target, v1::Alias* out) {
    aliases[name] = target;
    out->set_name(name);
    out->set_target(target);
    return lose_replies-- > 0 ? kUnavailable : grpc::Status::OK;
  }
  grpc::Status CreateAlias(grpc::ServerContext*, const v1::CreateAliasRequest* request,
                           v1::CreateAliasResponse* response) override {
    if (aliases.contains("aliases/" + request->alias_id())) {
      return grpc::Status(grpc::StatusCode::ALREADY_EXISTS, "taken");
    }
    return Change("aliases/" + request->alias_id(), request->alias().target(),
                  response->mutable_alias());
  }
  grpc::Status UpdateAlias(grpc::ServerContext*, const v1::UpdateAliasRequest* request,
                           v1::UpdateAliasResponse* response) override {
    const auto at = aliases.find(request->alias().name());
    if (at == aliases.end() && !request->allow_missing()) {
      return grpc::Status(grpc::StatusCode::NOT_FOUND, "none");
    }
    if (!request->expected_target().empty() && at->second != request->expected_target()) {
      return grpc::Status(grpc::StatusCode::ABORTED, "elsewhere");
    }
    return Change(request->alias().name(), request->alias().target(), response->mutable_alias());
  }
  grpc::Status GetAlias(grpc::ServerContext*, const v1::GetAliasRequest* request,
                        v1::GetAliasResponse* response) override {
    const auto at = aliases.find(request->name());
    if (at == aliases.end()) return grpc::Status(grpc::StatusCode::NOT_FOUND, "none");
    response->mutable_alias()->set_name(at->first);
    response->mutable_alias()->set_target(at->second);
    return grpc::Status::OK;
  }
  // One a page.
  grpc::Status ListAliases(grpc::ServerContext*, const v1::ListAliasesRequest* request,
                           v1::ListAliasesResponse* response) override {
    auto at = aliases.upper_bound(request->page_token());
    if (at == aliases.end()) return grpc::Status::OK;
    response->add_aliases()->set_name(at->first);
    response->mutable_aliases(0)->set_target(at->second);
    if (std::next(at) != aliases.end()) response->set_next_page_token(at->first);
    return grpc::Status::OK;
  }
  grpc::Status DeleteAlias(grpc::ServerContext*, const v1::DeleteAliasRequest* request,
                           v1::DeleteAliasResponse*) override {
    if (aliases.erase(request->name()) == 0) {
      return grpc::Status(grpc::StatusCode::NOT_FOUND, "none");
    }
    return lose_replies-- > 0 ? kUnavailable : grpc::Status::OK;
  }

 private:
  std::mutex mutex_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

class StreamsTest : public ::testing::Test {
 protected:
  struct Streamed {
    std::vector<std::string> ids;
    std::string token;
    int resumes = 0;
    Status status;
  };
  Streamed Stream(StreamOptions options = {}, milliseconds timeout = milliseconds(20'000),
                  const Status& refusal = Status()) {
    Client client({.server = server_.address(),
                   .timeout = timeout,
                   .initial_backoff = milliseconds(1),
                   .max_backoff = milliseconds(4)});
    Streamed streamed;
    options.on_resume = [&](const Status& why) {
      ++streamed.resumes;
      EXPECT_EQ(why.code(), Code::kUnavailable);
    };
    streamed.status = client.StreamDocuments(
        "c", options, [&](std::vector<Document> documents, const std::string& token) {
          for (const Document& document : documents) streamed.ids.push_back(document.id);
          streamed.token = token;
          return refusal;
        });
    return streamed;
  }

  Server server_;
};

TEST_F(StreamsTest, GoesOnBehindWhatCame) {
  server_.calls = {{{"a", "b"}, kUnavailable, false},
                   {{}, kUnavailable, false},
                   {{"c"}, kUnavailable, false},
                   {{"d"}, grpc::Status::OK, false}};
  const Streamed all = Stream({.read_mask = {.text = false, .metadata = true, .vector = true},
                               .slice = 2,
                               .slices = 5,
                               .filter = "a = 1",
                               .resume_token = "first"});
  EXPECT_TRUE(all.status.ok()) << all.status.ToString();
  EXPECT_THAT(all.ids, ElementsAre("a", "b", "c", "d"));
  EXPECT_EQ(all.token, "after d");
  EXPECT_EQ(all.resumes, 2);
  std::vector<std::string> tokens;
  for (const v1::StreamDocumentsRequest& request : server_.requests) {
    tokens.push_back(request.resume_token());
    EXPECT_EQ(request.parent(), "collections/c");
    EXPECT_EQ(request.slice().index(), 2);
    EXPECT_EQ(request.slice().total(), 5);
    EXPECT_EQ(request.filter(), "a = 1");
    EXPECT_THAT(request.read_mask().paths(), ElementsAre("metadata", "vector"));
  }
  EXPECT_THAT(tokens, ElementsAre("first", "after b", "after b", "after c"));
}

TEST_F(StreamsTest, GivesUpOnOtherErrorsAndInTheEnd) {
  server_.calls = {{{"a"}, grpc::Status(grpc::StatusCode::DATA_LOSS, "damaged"), false}};
  EXPECT_EQ(Stream().status.code(), Code::kDataLoss);
  EXPECT_EQ(server_.requests.size(), 1u);

  server_.requests.clear();
  server_.calls = {{{}, kUnavailable, false}};
  EXPECT_EQ(Stream().status.code(), Code::kUnavailable);
  EXPECT_EQ(server_.requests.size(), 5u);  // ClientOptions::max_attempts

  server_.requests.clear();
  server_.calls = {{{"a"}, kUnavailable, false}, {{}, kUnavailable, false}};
  const Streamed broken = Stream({}, milliseconds(100));
  EXPECT_EQ(broken.status.code(), Code::kUnavailable);
  EXPECT_THAT(broken.ids, ElementsAre("a"));
  EXPECT_GT(server_.requests.size(), 5u);  // as long as the timeout
}

TEST_F(StreamsTest, ASilentServerIsGivenUp) {
  server_.calls = {{{"a"}, grpc::Status::OK, true}, {{"b"}, grpc::Status::OK, false}};
  const Streamed all = Stream({}, milliseconds(300));
  EXPECT_TRUE(all.status.ok()) << all.status.ToString();
  EXPECT_THAT(all.ids, ElementsAre("a", "b"));
  EXPECT_EQ(all.resumes, 1);
}

TEST_F(StreamsTest, TheCallersErrorEndsIt) {
  server_.calls = {{{"a", "b"}, grpc::Status::OK, true}};
  const Streamed one = Stream({}, milliseconds(20'000), Status(Code::kAborted, "enough"));
  EXPECT_EQ(one.status.ToString(), "ABORTED: enough");
  EXPECT_THAT(one.ids, ElementsAre("a"));
  EXPECT_EQ(Stream({.resume_token = "\xff"}).status.field(), "resume_token");
}

TEST_F(StreamsTest, EventsAreTakenAsTheyCome) {
  server_.events.resize(2);
  v1::Event& event = *server_.events[1].mutable_event();
  server_.events[1].set_missed(3);
  event.mutable_time()->set_seconds(100);
  event.set_collection("collections/c");
  event.set_shard(0);
  event.set_kind(v1::EVENT_KIND_OPERATION_ENDED);
  event.set_message("is done");
  server_.watch_end = kUnavailable;
  Client client({.server = server_.address()});
  int begun = 0;
  std::vector<Event> events;
  const auto take = [&](const std::optional<Event>& taken, int64_t missed) {
    if (!taken) {
      ++begun;
    } else {
      EXPECT_EQ(missed, 3);
      events.push_back(*taken);
    }
    return Status();
  };
  EXPECT_EQ(client.WatchEvents("c", take).code(), Code::kUnavailable);
  EXPECT_EQ(server_.watch_request.collection(), "collections/c");
  EXPECT_EQ(begun, 1);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].time, std::chrono::system_clock::from_time_t(100));
  EXPECT_EQ(events[0].collection, "c");
  EXPECT_EQ(events[0].shard, 0);
  EXPECT_EQ(events[0].kind, "operation ended");
  EXPECT_EQ(events[0].message, "is done");
  event.clear_shard();
  event.clear_collection();
  event.set_kind(static_cast<v1::EventKind>(99));
  EXPECT_EQ(client.WatchEvents("", take).code(), Code::kUnavailable);
  EXPECT_EQ(server_.watch_request.collection(), "");
  EXPECT_EQ(events[1].shard, std::nullopt);
  EXPECT_EQ(events[1].kind, "unknown");
  const Status ended = client.WatchEvents(
      "", [](const std::optional<Event>&, int64_t) { return Status(Code::kAborted, "enough"); });
  EXPECT_EQ(ended.ToString(), "ABORTED: enough");
}

TEST_F(StreamsTest, AliasesComeAndGoAlsoWhenRepliesAreLost) {
  Client client({.server = server_.address(), .initial_backoff = milliseconds(1)});
  for (const int lost : {0, 1}) {
    server_.lose_replies = lost;
    const Result<Alias> made = client.CreateAlias("x", "a");
    ASSERT_TRUE(made.ok()) << made.status().ToString();
    EXPECT_EQ(made->id, "x");
    EXPECT_EQ(made->target, "a");
    EXPECT_EQ(client.CreateAlias("x", "b").status().code(), Code::kAlreadyExists);
    server_.lose_replies = lost;
    const Result<Alias> moved = client.UpdateAlias("x", "b", "a");
    ASSERT_TRUE(moved.ok()) << moved.status().ToString();
    EXPECT_EQ(moved->target, "b");
    EXPECT_EQ(client.UpdateAlias("x", "c", "a").status().code(), Code::kAborted);
    EXPECT_EQ(client.UpdateAlias("y", "c").status().code(), Code::kNotFound);
    ASSERT_TRUE(client.UpdateAlias("y", "c", "", true).ok());
    const Result<std::vector<Alias>> all = client.ListAliases();
    ASSERT_TRUE(all.ok());
    ASSERT_EQ(all->size(), 2u);
    EXPECT_EQ((*all)[0].id + (*all)[0].target + (*all)[1].id + (*all)[1].target, "xbyc");
    server_.lose_replies = lost;
    EXPECT_TRUE(client.DeleteAlias("x").ok());
    EXPECT_EQ(client.DeleteAlias("x").code(), Code::kNotFound);
    EXPECT_EQ(client.GetAlias("x").status().code(), Code::kNotFound);
    EXPECT_TRUE(client.DeleteAlias("y").ok());
  }
  EXPECT_EQ(client.CreateAlias("\xff", "a").status().field(), "alias_id");
}

}  // namespace
}  // namespace vecino
