#include "server/rpc/library_logs.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <spdlog/spdlog.h>

#include <string>

namespace vecino::rpc {
namespace {

// gRPC calls errors what the peers of a server do every day, and why it could not listen, which
// listen_error.h says in plainer words.
void LogForGrpc(gpr_log_func_args* args) { spdlog::debug("grpc: {}", args->message); }

// Protobuf calls a request whose text is not UTF-8 an error of its own; callers could fill the log
// with them, and are told in their reply.
void LogForProtobuf(google::protobuf::LogLevel level, const char*, int, const std::string& text) {
  spdlog::log(level == google::protobuf::LOGLEVEL_FATAL ? spdlog::level::err : spdlog::level::debug,
              "protobuf: {}", text);
}

}  // namespace

void RouteLibraryLogs() {
  gpr_set_log_function(LogForGrpc);
  google::protobuf::SetLogHandler(LogForProtobuf);
}

}  // namespace vecino::rpc
