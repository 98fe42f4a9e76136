// The client's calls about snapshots, against a server in this process.
#include <google/longrunning/operations.grpc.pb.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <vecino/v1/admin_service.grpc.pb.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "vecino/client.h"

namespace vecino {
namespace {

class Server final : public v1::AdminService::Service,
                     public google::longrunning::Operations::Service {
 public:
  Server() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(static_cast<v1::AdminService::Service*>(this));
    builder.RegisterService(static_cast<google::longrunning::Operations::Service*>(this));
    server_ = builder.BuildAndStart();
  }
  ~Server() override { server_->Shutdown(std::chrono::system_clock::now()); }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  grpc::Status CreateSnapshot(grpc::ServerContext*, const v1::CreateSnapshotRequest* request,
                              google::longrunning::Operation* response) override {
    create = *request;
    Write("snapshots/" + request->snapshot_id(), v1::SnapshotOperationMetadata::TYPE_CREATE, false,
          response);
    return grpc::Status::OK;
  }
  grpc::Status RestoreSnapshot(grpc::ServerContext*, const v1::RestoreSnapshotRequest* request,
                               google::longrunning::Operation* response) override {
    restore = *request;
    Write(request->name(), v1::SnapshotOperationMetadata::TYPE_RESTORE, false, response);
    return grpc::Status::OK;
  }
  grpc::Status ListSnapshots(grpc::ServerContext*, const v1::ListSnapshotsRequest* request,
                             v1::ListSnapshotsResponse* response) override {
    const bool first = request->page_token().empty();
    *response->add_snapshots() = Example(first ? "a" : "b");
    if (first) {
      response->set_next_page_token("more");
    } else {
      response->mutable_snapshots(0)->set_damage("no manifest");
    }
    return grpc::Status::OK;
  }
  grpc::Status DeleteSnapshot(grpc::ServerContext*, const v1::DeleteSnapshotRequest* request,
                              v1::DeleteSnapshotResponse*) override {
    if (--unavailable >= 0) return {grpc::StatusCode::UNAVAILABLE, "soon"};
    return {grpc::StatusCode::NOT_FOUND, "no " + request->name()};
  }
  grpc::Status VerifyIntegrity(grpc::ServerContext*, const v1::VerifyIntegrityRequest* request,
                               grpc::ServerWriter<v1::VerifyIntegrityResponse>* writer) override {
    verify = *request;
    v1::VerifyIntegrityResponse message;
    message.set_stage("files");
    message.set_rows_checked(7);
    writer->Write(message);
    message.mutable_finding()->set_name("snapshots/s");
    message.mutable_finding()->set_location("file");
    message.mutable_finding()->set_problem("bad");
    message.mutable_finding()->set_advice("delete it");
    writer->Write(message);
    message.mutable_finding()->set_name("collections/c");
    writer->Write(message);
    message.clear_finding();
    message.set_finding_count(2);
    message.set_bytes_checked(9);
    message.set_done(true);
    writer->Write(message);
    return {grpc::StatusCode::DATA_LOSS, "2 things are wrong"};
  }
  grpc::Status WaitOperation(grpc::ServerContext*,
                             const google::longrunning::WaitOperationRequest* request,
                             google::longrunning::Operation* response) override {
    wait = *request;
    Write("snapshots/s", v1::SnapshotOperationMetadata::TYPE_CREATE, true, response);
    return grpc::Status::OK;
  }
  grpc::Status CancelOperation(grpc::ServerContext*,
                               const google::longrunning::CancelOperationRequest* request,
                               google::protobuf::Empty*) override {
    cancelled = request->name();
    return grpc::Status::OK;
  }

  static v1::Snapshot Example(const std::string& id) {
    v1::Snapshot snapshot;
    snapshot.set_name("snapshots/" + id);
    snapshot.mutable_create_time()->set_seconds(100);
    snapshot.set_server_version("1.2.3");
    snapshot.set_document_count(5);
    snapshot.set_size_bytes(50);
    v1::SnapshotCollection* collection = snapshot.add_collections();
    collection->set_collection("collections/c");
    collection->set_document_count(5);
    return snapshot;
  }
  static void Write(const std::string& snapshot, v1::SnapshotOperationMetadata::Type type,
                    bool done, google::longrunning::Operation* out) {
    v1::SnapshotOperationMetadata metadata;
    metadata.set_type(type);
    metadata.set_snapshot(snapshot);
    metadata.add_collections("collections/c");
    metadata.set_stage(done ? "done" : "copying");
    metadata.set_rows_done(3);
    metadata.set_rows_total(4);
    out->set_name(snapshot + "/operations/9-1");
    out->set_done(done);
    out->mutable_metadata()->PackFrom(metadata);
    if (done) out->mutable_response()->PackFrom(Example("s"));
  }

  v1::CreateSnapshotRequest create;
  v1::RestoreSnapshotRequest restore;
  v1::VerifyIntegrityRequest verify;
  google::longrunning::WaitOperationRequest wait;
  std::string cancelled;
  int unavailable = 0;

 private:
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

class SnapshotsTest : public ::testing::Test {
 protected:
  Server server_;
  Client client_{{.server = server_.address()}};
};

TEST_F(SnapshotsTest, OperationsAreStartedWaitedForAndCancelled) {
  const Result<SnapshotOperation> made = client_.CreateSnapshot("s", {"c", "d"});
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  EXPECT_EQ(server_.create.snapshot_id(), "s");
  ASSERT_EQ(server_.create.collections_size(), 2);
  EXPECT_EQ(server_.create.collections(1), "collections/d");
  EXPECT_EQ(made->snapshot, "s");
  EXPECT_EQ(made->id, "9-1");
  EXPECT_EQ(made->type, SnapshotOperation::Type::kCreate);
  EXPECT_FALSE(made->done);
  EXPECT_EQ(made->stage, "copying");
  EXPECT_EQ(made->rows_done, 3);
  EXPECT_EQ(made->rows_total, 4);
  EXPECT_FALSE(made->made.has_value());

  const auto done = client_.WaitSnapshotOperation("s", "9-1", std::chrono::milliseconds(1'500));
  ASSERT_TRUE(done.ok());
  EXPECT_EQ(server_.wait.name(), "snapshots/s/operations/9-1");
  EXPECT_EQ(server_.wait.timeout().seconds(), 1);
  EXPECT_EQ(server_.wait.timeout().nanos(), 500'000'000);
  ASSERT_TRUE(done->made.has_value());
  EXPECT_EQ(done->made->documents, 5);
  EXPECT_EQ(done->made->bytes, 50);
  EXPECT_TRUE(client_.CancelSnapshotOperation("s", "9-1").ok());
  EXPECT_EQ(server_.cancelled, "snapshots/s/operations/9-1");

  const Result<SnapshotOperation> restored = client_.RestoreSnapshot("s", "c", "copy");
  ASSERT_TRUE(restored.ok());
  EXPECT_EQ(server_.restore.name(), "snapshots/s");
  EXPECT_EQ(server_.restore.source_collection(), "collections/c");
  EXPECT_EQ(server_.restore.collection_id(), "copy");
  EXPECT_EQ(restored->type, SnapshotOperation::Type::kRestore);
  EXPECT_EQ(restored->collections, std::vector<std::string>{"c"});
  EXPECT_EQ(client_.RestoreSnapshot("\xff").status().code(), Code::kInvalidArgument);
}

TEST_F(SnapshotsTest, ListsAllPagesAndDeletes) {
  const Result<std::vector<Snapshot>> all = client_.ListSnapshots();
  ASSERT_TRUE(all.ok());
  ASSERT_EQ(all->size(), 2U);
  EXPECT_EQ((*all)[0].id, "a");
  EXPECT_EQ((*all)[0].server_version, "1.2.3");
  ASSERT_EQ((*all)[0].collections.size(), 1U);
  EXPECT_EQ((*all)[0].collections[0].id, "c");
  EXPECT_EQ((*all)[0].damage, "");
  EXPECT_EQ((*all)[1].damage, "no manifest");

  EXPECT_EQ(client_.DeleteSnapshot("a").code(), Code::kNotFound);
  server_.unavailable = 1;  // the attempt may have done it
  EXPECT_TRUE(client_.DeleteSnapshot("a").ok());
}

TEST_F(SnapshotsTest, ACheckHandsOutWhatItFinds) {
  std::vector<IntegrityReport> reports;
  const auto take = [&](const IntegrityReport& report) {
    reports.push_back(report);
    return Status();
  };
  EXPECT_EQ(client_.VerifyIntegrity("", "s", take).code(), Code::kDataLoss);
  EXPECT_EQ(server_.verify.name(), "snapshots/s");
  ASSERT_EQ(reports.size(), 4U);
  EXPECT_FALSE(reports[0].finding.has_value());
  EXPECT_EQ(reports[0].stage, "files");
  EXPECT_EQ(reports[0].rows, 7);
  ASSERT_TRUE(reports[1].finding.has_value());
  EXPECT_EQ(reports[1].finding->snapshot, "s");
  EXPECT_EQ(reports[1].finding->problem, "bad");
  EXPECT_EQ(reports[1].finding->advice, "delete it");
  EXPECT_EQ(reports[2].finding->collection, "c");
  EXPECT_TRUE(reports[3].done);
  EXPECT_EQ(reports[3].findings, 2);
  EXPECT_EQ(reports[3].bytes, 9);

  const auto enough = [](const IntegrityReport&) { return Status(Code::kCancelled, "enough"); };
  EXPECT_EQ(client_.VerifyIntegrity("c", "", enough).code(), Code::kCancelled);
  EXPECT_EQ(server_.verify.name(), "collections/c");
  EXPECT_EQ(client_.VerifyIntegrity("c", "s", take).code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace vecino
