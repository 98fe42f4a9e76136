// Snapshots and checks, as callers see them.
#include "server/rpc/snapshot_handlers.h"

#include "server/rpc/wire.h"
#include "tests/server/rpc/handlers_fixture.h"
#include "vecino/v1/admin_service.pb.h"

namespace vecino::rpc {
namespace {

using engine::Operation;
using engine::SnapshotInfo;
using testing::ElementsAre;

SnapshotInfo Example(std::string id = "s") {
  return {.id = std::move(id),
          .create_time = absl::FromUnixSeconds(1000),
          .server_version = "1.2.3",
          .collections = {{"a", 3}, {"b", 4}},
          .documents = 7,
          .bytes = 99,
          .damage = {}};
}

class SnapshotHandlersTest : public HandlersTest {
 protected:
  SnapshotHandlersTest() {
    Operation::Info operation;
    operation.id = "9-1";
    operation.collection = "s";
    operation.type = Operation::Type::kSnapshot;
    operation.create_time = absl::FromUnixSeconds(1000);
    operation.end_time = absl::InfiniteFuture();
    operation.parts = {{.shard = 0, .stage = "copying", .rows_done = 5, .rows_total = 9}};
    operation.snapshot = std::make_shared<const engine::SnapshotWork>(
        engine::SnapshotWork{.collections = {"a", "b"}, .made = {}});
    fake_.running = {operation};
  }
  v1::SnapshotOperationMetadata Metadata() const {
    v1::SnapshotOperationMetadata metadata;
    EXPECT_TRUE(operation_.metadata().UnpackTo(&metadata));
    return metadata;
  }

  FakeSnapshots& fake_ = engine_.fake_snapshots;
  SnapshotHandlers snapshots_{&engine_};
  google::longrunning::Operation operation_;
};

TEST_F(SnapshotHandlersTest, CreatePassesOnWhatWasAskedAndTellsOfTheOperation) {
  v1::CreateSnapshotRequest request;
  request.set_snapshot_id("s");
  request.add_collections("collections/a");
  request.add_collections("collections/b");
  ASSERT_TRUE(snapshots_.CreateSnapshot(request, &operation_, context_).ok());
  EXPECT_EQ(fake_.id, "s");
  EXPECT_THAT(fake_.collections, ElementsAre("a", "b"));
  EXPECT_EQ(operation_.name(), "snapshots/s/operations/9-1");
  EXPECT_FALSE(operation_.done());
  const v1::SnapshotOperationMetadata metadata = Metadata();
  EXPECT_EQ(metadata.type(), v1::SnapshotOperationMetadata::TYPE_CREATE);
  EXPECT_EQ(metadata.snapshot(), "snapshots/s");
  EXPECT_THAT(metadata.collections(), ElementsAre("collections/a", "collections/b"));
  EXPECT_EQ(metadata.create_time().seconds(), 1000);
  EXPECT_FALSE(metadata.has_end_time());
  EXPECT_EQ(metadata.stage(), "copying");
  EXPECT_EQ(metadata.rows_done(), 5);
  EXPECT_EQ(metadata.rows_total(), 9);

  request.set_collections(1, "b");
  ExpectField(snapshots_.CreateSnapshot(request, &operation_, context_), "collections[1]");
}

TEST_F(SnapshotHandlersTest, AnOperationThatIsDoneHasItsResponseOrItsError) {
  google::longrunning::GetOperationRequest get;
  get.set_name("snapshots/s/operations/9-1");
  Operation::Info& info = fake_.running[0];
  info.done = true;
  info.end_time = absl::FromUnixSeconds(2000);
  info.snapshot = std::make_shared<const engine::SnapshotWork>(
      engine::SnapshotWork{.collections = {"a", "b"}, .made = Example()});
  ASSERT_TRUE(operations_.GetOperation(get, &operation_, context_).ok());
  v1::Snapshot made;
  ASSERT_TRUE(operation_.response().UnpackTo(&made));
  EXPECT_EQ(made.name(), "snapshots/s");
  EXPECT_EQ(made.document_count(), 7);
  EXPECT_EQ(Metadata().end_time().seconds(), 2000);

  info.type = Operation::Type::kRestore;
  ASSERT_TRUE(operations_.GetOperation(get, &operation_, context_).ok());
  v1::RestoreSnapshotResponse restored;
  ASSERT_TRUE(operation_.response().UnpackTo(&restored));
  EXPECT_THAT(restored.collections(), ElementsAre("collections/a", "collections/b"));
  EXPECT_EQ(Metadata().type(), v1::SnapshotOperationMetadata::TYPE_RESTORE);

  info.status = absl::DataLossError("damaged");
  ASSERT_TRUE(operations_.GetOperation(get, &operation_, context_).ok());
  EXPECT_EQ(operation_.error().code(), 15);
  EXPECT_EQ(operation_.error().message(), "damaged");
}

TEST_F(SnapshotHandlersTest, OperationsOfASnapshotAreFoundByItsName) {
  google::longrunning::ListOperationsRequest list;
  google::longrunning::ListOperationsResponse listed;
  list.set_name("snapshots/s");
  ASSERT_TRUE(operations_.ListOperations(list, &listed, context_).ok());
  ASSERT_EQ(listed.operations_size(), 1);
  EXPECT_EQ(listed.operations(0).name(), "snapshots/s/operations/9-1");
  list.set_name("snapshots/S");
  ExpectField(operations_.ListOperations(list, &listed, context_), "name");

  google::protobuf::Empty empty;
  google::longrunning::CancelOperationRequest cancel;
  cancel.set_name("snapshots/s/operations/9-1");
  EXPECT_TRUE(operations_.CancelOperation(cancel, &empty, context_).ok());
  EXPECT_EQ(fake_.id, "s");
  EXPECT_EQ(fake_.operation, "9-1");
  google::longrunning::DeleteOperationRequest erase;
  erase.set_name("snapshots/s/operations/9-2");
  EXPECT_TRUE(operations_.DeleteOperation(erase, &empty, context_).ok());
  EXPECT_EQ(fake_.operation, "9-2");
  google::longrunning::WaitOperationRequest wait;
  wait.set_name("snapshots/s/operations/9-1");
  wait.mutable_timeout()->set_seconds(2);
  EXPECT_TRUE(operations_.WaitOperation(wait, &operation_, context_).ok());
  EXPECT_EQ(fake_.timeout, absl::Seconds(2));
  wait.set_name("snapshots/s/operations/");
  ExpectField(operations_.WaitOperation(wait, &operation_, context_), "name");
}

TEST_F(SnapshotHandlersTest, ListsInPagesAndSaysWhatIsDamaged) {
  fake_.infos = {Example("a"), Example("b"), Example("c")};
  fake_.infos[2].damage = absl::DataLossError("the manifest is damaged");
  v1::ListSnapshotsRequest request;
  request.set_page_size(2);
  v1::ListSnapshotsResponse response;
  ASSERT_TRUE(snapshots_.ListSnapshots(request, &response, context_).ok());
  ASSERT_EQ(response.snapshots_size(), 2);
  const v1::Snapshot& first = response.snapshots(0);
  EXPECT_EQ(first.name(), "snapshots/a");
  EXPECT_EQ(first.create_time().seconds(), 1000);
  EXPECT_EQ(first.server_version(), "1.2.3");
  ASSERT_EQ(first.collections_size(), 2);
  EXPECT_EQ(first.collections(1).collection(), "collections/b");
  EXPECT_EQ(first.collections(1).document_count(), 4);
  EXPECT_EQ(first.size_bytes(), 99);
  EXPECT_EQ(first.damage(), "");
  request.set_page_token(response.next_page_token());
  response.Clear();
  ASSERT_TRUE(snapshots_.ListSnapshots(request, &response, context_).ok());
  ASSERT_EQ(response.snapshots_size(), 1);
  EXPECT_EQ(response.snapshots(0).name(), "snapshots/c");
  EXPECT_EQ(response.snapshots(0).damage(), "the manifest is damaged");
  EXPECT_EQ(response.next_page_token(), "");
  request.set_page_token("no");
  ExpectField(snapshots_.ListSnapshots(request, &response, context_), "page_token");
  request.set_page_token("");
  request.set_page_size(-1);
  ExpectField(snapshots_.ListSnapshots(request, &response, context_), "page_size");
}

TEST_F(SnapshotHandlersTest, APageHasNoMoreBytesThanAReplyMayHave) {
  SnapshotInfo large = Example();
  large.collections.assign(20'000, {std::string(63, 'c'), 1});
  for (const char* id : {"a", "b", "c", "d"}) {
    fake_.infos.push_back(large);
    fake_.infos.back().id = id;
  }
  v1::ListSnapshotsRequest request;
  std::string ids;
  do {
    v1::ListSnapshotsResponse response;
    ASSERT_TRUE(snapshots_.ListSnapshots(request, &response, context_).ok());
    ASSERT_GT(response.snapshots_size(), 0);
    EXPECT_LT(response.ByteSizeLong(), size_t{4} << 20);
    for (const v1::Snapshot& snapshot : response.snapshots()) ids += snapshot.name().back();
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty() && ids.size() < 10);
  EXPECT_EQ(ids, "abcd");
}

TEST_F(SnapshotHandlersTest, RestoreAndDeleteCheckNames) {
  v1::RestoreSnapshotRequest request;
  request.set_name("snapshots/s");
  request.set_source_collection("collections/a");
  request.set_collection_id("copy");
  ASSERT_TRUE(snapshots_.RestoreSnapshot(request, &operation_, context_).ok());
  EXPECT_EQ(fake_.restore.snapshot, "s");
  EXPECT_EQ(fake_.restore.source, "a");
  EXPECT_EQ(fake_.restore.collection, "copy");
  request.set_collection_id("No");
  ExpectField(snapshots_.RestoreSnapshot(request, &operation_, context_), "collection_id");
  request.set_source_collection("a");
  ExpectField(snapshots_.RestoreSnapshot(request, &operation_, context_), "source_collection");
  request.set_name("s");
  ExpectField(snapshots_.RestoreSnapshot(request, &operation_, context_), "name");

  v1::DeleteSnapshotRequest erase;
  v1::DeleteSnapshotResponse erased;
  erase.set_name("snapshots/s");
  EXPECT_TRUE(snapshots_.DeleteSnapshot(erase, &erased, context_).ok());
  fake_.failure = absl::NotFoundError("none");
  EXPECT_EQ(snapshots_.DeleteSnapshot(erase, &erased, context_).code(),
            absl::StatusCode::kNotFound);
  erase.set_name("snapshots/");
  ExpectField(snapshots_.DeleteSnapshot(erase, &erased, context_), "name");
}

TEST_F(SnapshotHandlersTest, VerifySendsFindingsThenFails) {
  engine::IntegrityReport finding;
  finding.finding = {.collection = "c",
                     .snapshot = "",
                     .where = "shard 0",
                     .problem = "a vector is missing",
                     .advice = "restore it"};
  finding.findings = 1;
  engine::IntegrityReport last;
  last.rows = 5;
  last.bytes = 6;
  last.findings = 1;
  last.stage = "files";
  last.done = true;
  fake_.reports = {finding, last};
  fake_.end = absl::DataLossError("1 thing is wrong");
  v1::VerifyIntegrityRequest request;
  request.set_name("collections/c");
  auto stream = snapshots_.VerifyIntegrity(request, context_);
  ASSERT_TRUE(stream.ok());
  EXPECT_EQ(fake_.verify.collection, "c");
  grpc::ByteBuffer bytes;
  v1::VerifyIntegrityResponse message;
  EXPECT_TRUE((*stream)->Ready([] {}));
  ASSERT_TRUE(*(*stream)->Next(&bytes));
  ASSERT_TRUE(ReadMessage(bytes, &message).ok());
  EXPECT_EQ(message.finding().name(), "collections/c");
  EXPECT_EQ(message.finding().location(), "shard 0");
  EXPECT_EQ(message.finding().problem(), "a vector is missing");
  EXPECT_EQ(message.finding().advice(), "restore it");
  ASSERT_TRUE(*(*stream)->Next(&bytes));
  message.Clear();
  ASSERT_TRUE(ReadMessage(bytes, &message).ok());
  EXPECT_FALSE(message.has_finding());
  EXPECT_TRUE(message.done());
  EXPECT_EQ(message.rows_checked(), 5);
  EXPECT_EQ(message.bytes_checked(), 6);
  EXPECT_EQ(message.finding_count(), 1);
  EXPECT_EQ((*stream)->Next(&bytes).status().code(), absl::StatusCode::kDataLoss);

  request.set_name("snapshots/s");
  ASSERT_TRUE(snapshots_.VerifyIntegrity(request, context_).ok());
  EXPECT_EQ(fake_.verify.snapshot, "s");
  request.set_name("");
  ASSERT_TRUE(snapshots_.VerifyIntegrity(request, context_).ok());
  EXPECT_EQ(fake_.verify.snapshot + fake_.verify.collection, "");
  for (const char* bad : {"c", "snapshots/", "collections/C"}) {
    request.set_name(bad);
    ExpectField(snapshots_.VerifyIntegrity(request, context_).status(), "name");
  }
}

}  // namespace
}  // namespace vecino::rpc
