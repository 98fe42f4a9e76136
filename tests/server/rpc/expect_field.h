// Reading the details of a status as a caller does.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/status/status.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/rpc/status.h"

namespace vecino::rpc {

inline std::string FieldIn(const google::rpc::Status& status) {
  for (const auto& detail : status.details()) {
    google::rpc::BadRequest bad;
    if (detail.UnpackTo(&bad) && bad.field_violations_size() == 1) {
      return bad.field_violations(0).field();
    }
  }
  return "";
}

// That `status` is INVALID_ARGUMENT whose BadRequest names `field` and whose message holds `part`.
inline void ExpectField(const absl::Status& status, const std::string& field,
                        const std::string& part = "") {
  google::rpc::Status out;
  ToRpcStatus(status, &out);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_EQ(FieldIn(out), field) << status;
  EXPECT_THAT(out.message(), testing::HasSubstr(part));
}

}  // namespace vecino::rpc
