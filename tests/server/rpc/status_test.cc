#include "server/rpc/status.h"

#include "server/engine/types.h"
#include "server/rpc/text.h"
#include "tests/server/rpc/expect_field.h"

namespace vecino::rpc {
namespace {

bool HasRetryInfo(const google::rpc::Status& status) {
  for (const auto& detail : status.details()) {
    google::rpc::RetryInfo retry;
    if (detail.UnpackTo(&retry)) {
      return retry.retry_delay().seconds() + retry.retry_delay().nanos() > 0;
    }
  }
  return false;
}

TEST(StatusTest, EveryCodeKeepsItsNumber) {
  // absl, google.rpc and gRPC number their codes alike.
  for (int code = 0; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "m");
    EXPECT_EQ(static_cast<int>(ToGrpcStatus(status).error_code()), code);
    google::rpc::Status out;
    ToRpcStatus(status, &out);
    EXPECT_EQ(out.code(), code);
    const bool retry = code == 8 || code == 14;
    EXPECT_EQ(HasRetryInfo(out), retry) << code;
  }
  const absl::Status strange(static_cast<absl::StatusCode>(99), "m");
  EXPECT_EQ(ToGrpcStatus(strange).error_code(), grpc::StatusCode::UNKNOWN);
}

TEST(StatusTest, DetailsTravelInBinary) {
  const grpc::Status status = ToGrpcStatus(engine::InvalidField("top_k", "is 0"));
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(details.code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(FieldIn(details), "top_k");
  EXPECT_EQ(details.message(), status.error_message());
}

TEST(StatusTest, NotRetryableHasNoRetryInfo) {
  google::rpc::Status out;
  ToRpcStatus(NotRetryable(absl::ResourceExhaustedError("too big")), &out);
  EXPECT_EQ(out.code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_FALSE(HasRetryInfo(out));
}

TEST(StatusTest, MessagesAreShortAndUtf8) {
  const grpc::Status status =
      ToGrpcStatus(absl::InternalError("bad \xff byte " + std::string(5000, 'x')));
  EXPECT_LE(status.error_message().size(), 1000u);
  EXPECT_EQ(status.error_message().substr(0, 10), "bad ? byte");
  EXPECT_LT(status.error_details().size(), 2500u);
}

TEST(StatusTest, MoveFieldRenames) {
  const absl::Status status = engine::InvalidField("documents[0].vector", "has 2 values");
  ExpectField(MoveField(status, "documents[0]", "documents[7]"), "documents[7].vector",
              "documents[7].vector: has 2 values");
  ExpectField(MoveField(status, "documents[0]", "document"), "document.vector");
  EXPECT_EQ(MoveField(status, "ids", "document"), status);
  EXPECT_EQ(MoveField(absl::NotFoundError("x"), "a", "b"), absl::NotFoundError("x"));
}

TEST(TextTest, Printable) {
  EXPECT_EQ(Printable("grün", 100), "grün");
  EXPECT_EQ(Printable("abcdef", 5), "ab...");
  EXPECT_EQ(Printable("a\xC3", 5), "a?");
  EXPECT_EQ(Printable("", 5), "");
}

}  // namespace
}  // namespace vecino::rpc
