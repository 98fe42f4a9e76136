#include "server/rpc/integrity_stream.h"

#include <optional>

#include "server/engine/snapshot_info.h"
#include "server/rpc/snapshot_conversions.h"

namespace vecino::rpc {

absl::StatusOr<bool> IntegrityStream::Fill(v1::VerifyIntegrityResponse* response) {
  const absl::StatusOr<std::optional<engine::IntegrityReport>> report = check_->Next();
  if (!report.ok()) return report.status();
  if (!report->has_value()) return false;
  WriteReport(**report, response);
  return true;
}

}  // namespace vecino::rpc
