// The vecinod that server_bench measures: its process, what /proc says of it, connections to it.
#pragma once

#include <grpcpp/grpcpp.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace vecino::bench {

// Starts and kills one vecinod on free ports of loopback. Not thread-safe, but for Connect() and
// the readers of /proc while it runs. Failures are std::runtime_error.
class BenchServer {
 public:
  // `folder` exists; data, ports and log go there.
  BenchServer(std::string binary, std::string folder, std::vector<std::string> flags);
  // Kills it.
  ~BenchServer();
  BenchServer(const BenchServer&) = delete;
  BenchServer& operator=(const BenchServer&) = delete;

  // Starts it and blocks until health says SERVING, for 10 minutes at most; returns the seconds
  // from the start of the process.
  double Start();
  // kill -9, and waits for its end.
  void Kill();

  // A connection of its own.
  std::shared_ptr<grpc::Channel> Connect() const;

  // User and system time of all its threads, from /proc/PID/stat: whole ticks of 10 ms.
  double CpuSeconds() const;
  // A line of /proc/PID/status that is in kB, such as VmHWM (peak of resident memory), in bytes.
  int64_t MemoryBytes(const std::string& line) const;
  // A histogram of its /metrics that has no labels, since its start.
  struct Histogram {
    double sum = 0;
    std::map<double, double> up_to;  // observations up to each bound, the last of which is infinite
    double count() const { return up_to.empty() ? 0 : up_to.rbegin()->second; }
    // What came since `before`, which is of the same histogram.
    Histogram Since(const Histogram& before) const;
    // The least bound that this share of the observations do not exceed; 0 when there are none.
    double Bound(double share) const;
  };
  Histogram ReadHistogram(const std::string& name) const;
  // Lets VmHWM start anew from what is resident now.
  void ResetPeak() const;

 private:
  bool Running();

  const std::string binary_;
  const std::string folder_;
  const std::vector<std::string> flags_;
  pid_t pid_ = 0;  // 0: none
  int port_ = 0, admin_port_ = 0;
};

// Calls `method` of `stub` with a deadline of a minute. Throws what the server says.
template <class Stub, class Request, class Response>
void Call(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
          const Request& request, Response* response) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
  const grpc::Status status = (stub.*method)(&context, request, response);
  if (status.ok()) return;
  throw std::runtime_error(Request::descriptor()->name() + ": code " +
                           std::to_string(status.error_code()) + ", " + status.error_message());
}

}  // namespace vecino::bench
