// Starting, overload, stopping.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "absl/time/clock.h"
#include "tests/integration/server_process.h"
#include "tests/server/rpc/health_client.h"

namespace vecino {
namespace {

using testing::HasSubstr;

class ServerLifecycleTest : public testing::Test {
 protected:
  std::unique_ptr<ServerProcess> Start(const std::vector<std::string>& flags = {},
                                       const std::string& model_root = "") {
    return std::make_unique<ServerProcess>(folder_.path(), flags, model_root);
  }

  // The exit code of a vecinod that must not start, and its log.
  static int Refused(const std::vector<std::string>& flags, std::string* log) {
    TemporaryFolder folder;
    ServerProcess server(folder.path(), flags);
    const int code = server.Wait();
    *log = server.log();
    return code;
  }

  static grpc::Status Embed(Stubs& stubs, int texts, int milliseconds,
                            grpc::ClientContext* given = nullptr) {
    grpc::ClientContext own;
    grpc::ClientContext& context = given == nullptr ? own : *given;
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::milliseconds(milliseconds));
    v1::EmbedTextRequest request;
    v1::EmbedTextResponse response;
    std::string text;
    for (int i = 0; i < 250; ++i) text += "word ";
    for (int i = 0; i < texts; ++i) request.add_texts(text);
    return stubs.embedding->EmbedText(&context, request, &response);
  }

  // Calls waiting and under way, as /metrics says.
  static int Metric(const ServerProcess& server, const std::string& name) {
    int code = 0;
    const std::string text = "\n" + HttpGet(server.admin_port(), "/metrics", &code);
    const size_t at = text.find("\n" + name + " ");
    return at == std::string::npos ? -1 : std::atoi(text.c_str() + at + name.size() + 2);
  }

  TemporaryFolder folder_;
};

TEST_F(ServerLifecycleTest, StopsWithZeroAndKeepsWhatWasWritten) {
  {
    auto server = Start();
    ASSERT_TRUE(server->WaitUntilServing()) << server->log();
    Stubs stubs(server->Connect());
    v1::CreateCollectionRequest request;
    v1::CreateCollectionResponse response;
    request.set_collection_id("kept");
    request.mutable_collection()->set_dimension(3);
    ASSERT_TRUE(
        Call(*stubs.collections, &v1::CollectionService::Stub::CreateCollection, request, &response)
            .ok());
    server->Signal(SIGTERM);
    EXPECT_EQ(server->Wait(), 0) << server->log();
  }
  auto server = Start();
  ASSERT_TRUE(server->WaitUntilServing()) << server->log();
  Stubs stubs(server->Connect());
  v1::GetCollectionRequest request;
  v1::GetCollectionResponse response;
  request.set_name("collections/kept");
  EXPECT_TRUE(
      Call(*stubs.collections, &v1::CollectionService::Stub::GetCollection, request, &response)
          .ok());
  server->Signal(SIGINT);
  EXPECT_EQ(server->Wait(), 0);
}

TEST_F(ServerLifecycleTest, ChannelzStaysOnThisMachineUnlessTold) {
  struct Case {
    std::vector<std::string> flags;
    grpc::StatusCode code;
  };
  for (const Case& one :
       {Case{{}, grpc::StatusCode::OK},
        Case{{"--channelz", "off"}, grpc::StatusCode::UNIMPLEMENTED},
        Case{{"--listen", "0.0.0.0:0"}, grpc::StatusCode::UNIMPLEMENTED},
        Case{{"--listen", "0.0.0.0:0", "--channelz", "on"}, grpc::StatusCode::OK}}) {
    SCOPED_TRACE(testing::PrintToString(one.flags));
    auto server = Start(one.flags);
    ASSERT_TRUE(server->WaitUntilServing()) << server->log();
    std::string reply;
    EXPECT_EQ(rpc::CallBytes(server->Connect(), "/grpc.channelz.v1.Channelz/GetServers", "", &reply)
                  .error_code(),
              one.code);
    server->Signal(SIGTERM);
    EXPECT_EQ(server->Wait(), 0) << server->log();
  }
}

TEST_F(ServerLifecycleTest, SecondServerIsRefusedPlainly) {
  auto server = Start();
  ASSERT_TRUE(server->WaitUntilServing()) << server->log();
  std::string log;
  EXPECT_EQ(Refused({"--listen", "127.0.0.1:" + std::to_string(server->grpc_port())}, &log), 3);
  EXPECT_THAT(log, HasSubstr("the port is taken"));
  EXPECT_EQ(Refused({"--admin-listen", "127.0.0.1:" + std::to_string(server->admin_port())}, &log),
            3);
  EXPECT_THAT(log, HasSubstr("the port is taken"));
  EXPECT_EQ(Refused({"--data-dir", folder_.path() + "/data"}, &log), 4);
  EXPECT_THAT(log, HasSubstr(folder_.path() + "/data"));
  // It leaves the port file of the one that serves alone.
  EXPECT_EQ(
      Refused({"--data-dir", folder_.path() + "/data", "--port-file", folder_.path() + "/ports"},
              &log),
      4);
  EXPECT_TRUE(server->WaitForPorts());
  EXPECT_EQ(rpc::CheckHealth(server->Connect(), ""), rpc::kServing);
}

TEST_F(ServerLifecycleTest, UnusableDataFolderIsSaidPlainly) {
  std::string log;
  std::ofstream(folder_.path() + "/file") << "x";
  EXPECT_EQ(Refused({"--data-dir", folder_.path() + "/file"}, &log), 4);
  EXPECT_THAT(log, HasSubstr(folder_.path() + "/file"));
  if (geteuid() != 0) {  // root may write anywhere
    const std::string locked = folder_.path() + "/locked";
    std::filesystem::create_directory(locked);
    chmod(locked.c_str(), 0500);
    EXPECT_EQ(Refused({"--data-dir", locked}, &log), 4);
    EXPECT_THAT(log, HasSubstr("Permission denied"));
  }
}

TEST_F(ServerLifecycleTest, RefusedModelsAreWarnings) {
  std::filesystem::create_directories(folder_.path() + "/models/broken");
  std::ofstream(folder_.path() + "/models/broken/manifest.json") << "{}";
  auto server = Start({"--log-level", "warn"});
  ASSERT_TRUE(server->WaitUntilServing()) << server->log();
  EXPECT_THAT(server->log(), HasSubstr("model broken refused"));
  EXPECT_THAT(server->log(), HasSubstr("no usable model in " + folder_.path() +
                                       "/models (1 folder refused, see above)"));
}

TEST_F(ServerLifecycleTest, BadConfigurationIsTwo) {
  std::string log;
  EXPECT_EQ(Refused({"--wrokers", "4"}, &log), 2);
  EXPECT_THAT(log, HasSubstr("--wrokers"));
  EXPECT_EQ(Refused({"--check-config"}, &log), 0);
  EXPECT_EQ(Refused({"--version"}, &log), 0);
}

TEST_F(ServerLifecycleTest, WatchersAreToldBeforeTheEnd) {
  auto server = Start();
  ASSERT_TRUE(server->WaitUntilServing()) << server->log();
  rpc::HealthWatch watch(server->Connect(), "vecino.write");
  EXPECT_EQ(watch.Next(), rpc::kServing);
  server->Signal(SIGTERM);
  EXPECT_EQ(watch.Next(), rpc::kNotServing);
  EXPECT_EQ(server->Wait(), 0);  // an open watch does not hold the server
}

TEST_F(ServerLifecycleTest, DrainFinishesCallsUnderWay) {
  const std::string models = RealModelRoot();
  if (models.empty()) GTEST_SKIP() << "no model; deploy/run fetches it";
  auto server = Start({"--drain-timeout", "2m"}, models);
  ASSERT_TRUE(server->WaitUntilServing()) << server->log();
  Stubs stubs(server->Connect());
  auto call = std::async(std::launch::async, [&] { return Embed(stubs, 40, 120000); });
  while (Metric(*server, "vecino_rpc_in_flight") < 1) std::this_thread::yield();
  server->Signal(SIGTERM);
  const grpc::Status status = call.get();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(server->Wait(), 0);
  EXPECT_THAT(server->log(), HasSubstr("draining"));
  EXPECT_THAT(server->log(), testing::Not(HasSubstr("cancelled before they were done")));
}

TEST_F(ServerLifecycleTest, DeadlinesAndCancels) {
  const std::string models = RealModelRoot();
  if (models.empty()) GTEST_SKIP() << "no model; deploy/run fetches it";
  auto server = Start({}, models);
  ASSERT_TRUE(server->WaitUntilServing()) << server->log();
  Stubs stubs(server->Connect());
  EXPECT_EQ(Embed(stubs, 300, 50).error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  grpc::ClientContext context;
  auto call = std::async(std::launch::async, [&] { return Embed(stubs, 300, 60000, &context); });
  while (Metric(*server, "vecino_rpc_in_flight") < 1) std::this_thread::yield();
  context.TryCancel();
  EXPECT_EQ(call.get().error_code(), grpc::StatusCode::CANCELLED);
  // Both give up their worker long before 300 texts are embedded.
  while (Metric(*server, "vecino_rpc_in_flight") > 0) std::this_thread::yield();
  EXPECT_EQ(rpc::CheckHealth(server->Connect(), ""), rpc::kServing);
}

TEST_F(ServerLifecycleTest, FullQueueIsResourceExhausted) {
  const std::string models = RealModelRoot();
  if (models.empty()) GTEST_SKIP() << "no model; deploy/run fetches it";
  auto server = Start({"--workers", "1", "--queue-capacity", "1"}, models);
  ASSERT_TRUE(server->WaitUntilServing()) << server->log();
  Stubs stubs(server->Connect());
  auto first = std::async(std::launch::async, [&] { return Embed(stubs, 60, 120000); });
  const auto wait = [&](int calls, int queued) {
    const absl::Time end = absl::Now() + absl::Seconds(60);
    while (Metric(*server, "vecino_rpc_in_flight") < calls ||
           Metric(*server, "vecino_rpc_queue_depth") != queued) {
      if (absl::Now() > end) return false;
      absl::SleepFor(absl::Milliseconds(1));
    }
    return true;
  };
  ASSERT_TRUE(wait(1, 0)) << "the first is not run";  // else the second would find it in the queue
  auto second = std::async(std::launch::async, [&] { return Embed(stubs, 1, 120000); });
  ASSERT_TRUE(wait(2, 1)) << "the second does not wait";
  const grpc::Status full = Embed(stubs, 1, 120000);
  EXPECT_EQ(full.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(full.error_message(), HasSubstr("queue is full"));
  EXPECT_THAT(full.error_details(), HasSubstr("google.rpc.RetryInfo"));
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(second.get().ok());
}

}  // namespace
}  // namespace vecino
