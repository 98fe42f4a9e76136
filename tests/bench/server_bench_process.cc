#include "tests/bench/server_bench_process.h"

#include <fcntl.h>
#include <httplib.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>
#include <utility>

#include "tests/server/rpc/health_client.h"

namespace vecino::bench {
namespace {

constexpr std::chrono::minutes kPatience(10);
constexpr std::chrono::milliseconds kPoll(2);

std::string ReadAll(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

}  // namespace

BenchServer::BenchServer(std::string binary, std::string folder, std::vector<std::string> flags)
    : binary_(std::move(binary)), folder_(std::move(folder)), flags_(std::move(flags)) {}

BenchServer::~BenchServer() { Kill(); }

double BenchServer::Start() {
  Kill();
  const std::string ports = folder_ + "/ports", log = folder_ + "/log";
  std::filesystem::remove(ports);
  std::vector<std::string> words = {
      binary_, "--listen",   "127.0.0.1:0",     "--admin-listen", "127.0.0.1:0",      "--port-file",
      ports,   "--data-dir", folder_ + "/data", "--model-root",   folder_ + "/models"};
  words.insert(words.end(), flags_.begin(), flags_.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  const auto begin = std::chrono::steady_clock::now();
  pid_ = fork();
  if (pid_ < 0) throw std::runtime_error("cannot fork");
  if (pid_ == 0) {  // only calls that are safe after fork() from here on
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd >= 0) dup2(fd, 2);
    execv(argv[0], argv.data());
    _exit(127);
  }
  const auto wait = [&](const char* what) {
    if (!Running()) throw std::runtime_error(binary_ + " ended; see " + log);
    if (std::chrono::steady_clock::now() - begin > kPatience) {
      throw std::runtime_error(std::string("no ") + what + " after ten minutes; see " + log);
    }
    std::this_thread::sleep_for(kPoll);
  };
  while (!std::filesystem::exists(ports)) wait("port file");
  const auto numbers = nlohmann::json::parse(ReadAll(ports));
  port_ = numbers["grpc"];
  admin_port_ = numbers["admin"];
  const auto channel = Connect();
  while (rpc::CheckHealth(channel, "") != rpc::kServing) wait("SERVING");
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

bool BenchServer::Running() {
  int status = 0;
  if (pid_ == 0 || waitpid(pid_, &status, WNOHANG) != 0) pid_ = 0;
  return pid_ != 0;
}

void BenchServer::Kill() {
  if (pid_ == 0) return;
  int status = 0;
  kill(pid_, SIGKILL);
  waitpid(pid_, &status, 0);
  pid_ = 0;
}

std::shared_ptr<grpc::Channel> BenchServer::Connect() const {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(port_),
                                   grpc::InsecureChannelCredentials(), arguments);
}

double BenchServer::CpuSeconds() const {
  const std::string stat = ReadAll("/proc/" + std::to_string(pid_) + "/stat");
  // Fields 14 and 15; the second is a name in brackets, which may hold blanks.
  std::istringstream in(stat.substr(std::min(stat.size(), stat.rfind(')') + 1)));
  std::string skipped;
  for (int field = 3; field < 14; ++field) in >> skipped;
  double user = 0, system = 0;
  if (!(in >> user >> system)) throw std::runtime_error("vecinod has ended");
  return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

int64_t BenchServer::MemoryBytes(const std::string& line) const {
  std::ifstream in("/proc/" + std::to_string(pid_) + "/status");
  for (std::string text; std::getline(in, text);) {
    if (text.starts_with(line + ":")) return std::stoll(text.substr(line.size() + 1)) * 1024;
  }
  throw std::runtime_error("no " + line + " of vecinod; it has ended");
}

BenchServer::Histogram BenchServer::ReadHistogram(const std::string& name) const {
  httplib::Client client("127.0.0.1", admin_port_);
  const auto reply = client.Get("/metrics");
  if (!reply || reply->status != 200) throw std::runtime_error("vecinod gives no metrics");
  const std::string bucket = name + "_bucket{le=\"", sum = name + "_sum ";
  std::istringstream lines(reply->body);
  Histogram histogram;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(sum)) histogram.sum = std::stod(line.substr(sum.size()));
    if (!line.starts_with(bucket)) continue;
    const double bound = std::stod(line.substr(bucket.size()));  // "+Inf", too
    histogram.up_to[bound] = std::stod(line.substr(line.rfind(' ') + 1));
  }
  if (histogram.up_to.empty()) throw std::runtime_error("vecinod has no histogram " + name);
  return histogram;
}

BenchServer::Histogram BenchServer::Histogram::Since(const Histogram& before) const {
  Histogram since = *this;
  since.sum -= before.sum;
  for (const auto& [bound, count] : before.up_to) since.up_to[bound] -= count;
  return since;
}

double BenchServer::Histogram::Bound(double share) const {
  if (count() == 0) return 0;
  for (const auto& [bound, count_to] : up_to) {
    if (count_to >= share * count()) return bound;
  }
  return up_to.rbegin()->first;
}

void BenchServer::ResetPeak() const {
  std::ofstream("/proc/" + std::to_string(pid_) + "/clear_refs") << 5;
}

}  // namespace vecino::bench
