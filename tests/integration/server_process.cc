#include "tests/integration/server_process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "google/rpc/error_details.pb.h"
#include "tests/server/rpc/health_client.h"

namespace vecino {
namespace {

constexpr std::chrono::seconds kPatience(60);
constexpr std::chrono::milliseconds kPoll(10);

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string ReadAll(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

}  // namespace

TemporaryFolder::TemporaryFolder() {
  std::string name = testing::TempDir() + "/vecinod_test.XXXXXX";
  path_ = mkdtemp(name.data());
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string RealModelRoot() {
  std::string root = Environment("VECINO_MODEL_ROOT");
  if (root.empty()) root = Environment("VECINO_SOURCE_DIR") + "/.cache/models";
  return std::filesystem::exists(root + "/all-MiniLM-L6-v2/manifest.json") ? root : "";
}

ServerProcess::ServerProcess(const std::string& folder, const std::vector<std::string>& flags,
                             const std::string& model_root)
    : folder_(folder) {
  std::filesystem::remove(folder + "/ports");
  std::vector<std::string> words = {Environment("VECINO_BINARY_DIR") + "/bin/vecinod",
                                    "--listen",
                                    "127.0.0.1:0",
                                    "--admin-listen",
                                    "127.0.0.1:0",
                                    "--port-file",
                                    folder + "/ports",
                                    "--data-dir",
                                    folder + "/data",
                                    "--model-root",
                                    model_root.empty() ? folder + "/models" : model_root,
                                    "--log-level",
                                    "debug"};
  words.insert(words.end(), flags.begin(), flags.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  const std::string log = folder + "/log";
  posix_spawn_file_actions_addopen(&actions, 2, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environ) != 0) {
    ADD_FAILURE() << "cannot start " << words[0];
    ended_ = true;
  }
  posix_spawn_file_actions_destroy(&actions);
}

ServerProcess::~ServerProcess() {
  if (testing::Test::HasFailure()) std::fprintf(stderr, "--- vecinod's log\n%s", log().c_str());
  if (ended_) return;
  Signal(SIGKILL);
  Wait();
}

bool ServerProcess::Running() {
  if (ended_) return false;
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) != pid_) return true;
  ended_ = true;
  exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  return false;
}

bool ServerProcess::WaitForPorts() {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!std::filesystem::exists(folder_ + "/ports")) {
    if (!Running() || std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(kPoll);
  }
  const auto ports = nlohmann::json::parse(ReadAll(folder_ + "/ports"));
  grpc_port_ = ports["grpc"];
  admin_port_ = ports["admin"];
  EXPECT_EQ(ports["pid"], pid_);
  return true;
}

bool ServerProcess::WaitUntilServing() {
  if (!WaitForPorts()) return false;
  const auto channel = Connect();
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (rpc::CheckHealth(channel, "") != rpc::kServing) {
    if (!Running() || std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(kPoll);
  }
  return true;
}

void ServerProcess::Signal(int signal) {
  if (!ended_) kill(pid_, signal);
}

int ServerProcess::Wait() {
  int status = 0;
  if (!ended_ && waitpid(pid_, &status, 0) == pid_) {
    ended_ = true;
    exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  return exit_code_;
}

std::string ServerProcess::log() const { return ReadAll(folder_ + "/log"); }

std::shared_ptr<grpc::Channel> ServerProcess::Connect() const {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(grpc_port_),
                                   grpc::InsecureChannelCredentials(), arguments);
}

std::string HttpGet(int port, const std::string& path, int* status) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string reply;
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
    const std::string request = "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    if (write(fd, request.data(), request.size()) == static_cast<ssize_t>(request.size())) {
      char buffer[4096];
      for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;) reply.append(buffer, n);
    }
  }
  close(fd);
  *status = reply.size() > 12 ? std::atoi(reply.c_str() + 9) : 0;
  const size_t body = reply.find("\r\n\r\n");
  return body == std::string::npos ? "" : reply.substr(body + 4);
}

std::string FieldOf(const google::rpc::Status& status) {
  for (const auto& detail : status.details()) {
    google::rpc::BadRequest bad;
    if (detail.UnpackTo(&bad) && bad.field_violations_size() > 0) {
      return bad.field_violations(0).field();
    }
  }
  return "";
}

std::string FieldOf(const grpc::Status& status) {
  google::rpc::Status details;
  return details.ParseFromString(status.error_details()) ? FieldOf(details) : "";
}

}  // namespace vecino
