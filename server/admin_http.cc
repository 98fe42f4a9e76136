#include "server/admin_http.h"

#include <httplib.h>
#include <sys/socket.h>

#include <atomic>
#include <cstdlib>
#include <optional>
#include <thread>
#include <utility>

#include "server/api_routes.h"
#include "server/rpc/listen_error.h"

namespace vecino {
namespace {

// httplib gives every connection a thread, also while it says nothing. These threads mostly sleep;
// there are enough of them, and silence is cut short enough, that connections left open by
// monitoring or scanners do not keep a probe waiting, whatever is being embedded or called.
constexpr int kThreads = 16 + kMostEmbeddings + kMostCalls + HttpBodies::kMostDiscards;
constexpr int kSilenceSeconds = 1;  // before the request, and between its parts
constexpr int kWriteTimeoutSeconds = 5;

class HttplibAdmin final : public AdminHttp {
 public:
  explicit HttplibAdmin(AdminCallbacks callbacks) : callbacks_(std::move(callbacks)) {
    server_.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
    server_.set_keep_alive_timeout(kSilenceSeconds);  // the wait for the first request, too
    server_.set_read_timeout(kSilenceSeconds);
    server_.set_write_timeout(kWriteTimeoutSeconds);
    server_.set_keep_alive_max_count(1);  // a stop need not wait for idle connections
    server_.set_payload_max_length(64 << 10);
    // httplib's own choice lets a second server share the port unnoticed.
    server_.set_socket_options([this](socket_t socket) {
      socket_ = socket;
      const int on = 1;
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    });
    server_.Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
      response.set_content(callbacks_.metrics(), "text/plain; version=0.0.4; charset=utf-8");
    });
    server_.Get("/healthz", [](const httplib::Request&, httplib::Response& response) {
      response.set_content("ok\n", "text/plain");
    });
    server_.Get("/readyz", [this](const httplib::Request&, httplib::Response& response) {
      const std::string reason = callbacks_.not_ready();
      response.status = reason.empty() ? 200 : 503;
      response.set_content(reason.empty() ? "ready\n" : reason + "\n", "text/plain");
    });
    if (callbacks_.api.has_value()) routes_.emplace(*callbacks_.api).Add(server_);
  }

  ~HttplibAdmin() override {
    if (!thread_.joinable()) return;
    // stop() is lost when it comes before the thread has begun to listen.
    while (!server_.is_running() && !ended_.load()) std::this_thread::yield();
    if (routes_.has_value()) routes_->Stop();
    server_.stop();
    thread_.join();
  }

  bool Listen(const std::string& address) {
    const size_t colon = address.rfind(':');
    std::string host = address.substr(0, colon);
    const int port = std::atoi(address.c_str() + colon + 1);
    if (host.size() >= 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
    if (port == 0) {
      port_ = server_.bind_to_any_port(host.c_str());
    } else if (server_.bind_to_port(host.c_str(), port)) {
      port_ = port;
    }
    if (port_ <= 0) return false;
    // httplib lets five wait to be accepted; the sixth of a burst would try again after a second.
    listen(socket_, SOMAXCONN);
    thread_ = std::thread([this] {
      server_.listen_after_bind();
      ended_.store(true);
    });
    return true;
  }

  int port() const override { return port_; }

 private:
  const AdminCallbacks callbacks_;
  std::optional<ApiRoutes> routes_;
  httplib::Server server_;
  socket_t socket_ = INVALID_SOCKET;  // the one listened on; httplib's
  int port_ = 0;
  std::atomic<bool> ended_ = false;
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<AdminHttp>> AdminHttp::Start(const std::string& address,
                                                            AdminCallbacks callbacks) {
  auto admin = std::make_unique<HttplibAdmin>(std::move(callbacks));
  if (!admin->Listen(address)) return rpc::WhyNotListening(address);
  return admin;
}

}  // namespace vecino
