// A retrain operation and a tuning as the server tells of them.
#pragma once

#include <google/longrunning/operations.pb.h>
#include <vecino/v1/collection_service.pb.h>
#include <vecino/v1/index_operation.pb.h>

#include <string>

#include "tests/client/fake_statuses.h"

namespace vecino::testing {

// One that runs while `waits` is above 0, and has failed after.
inline void WriteFakeOperation(int waits, const std::string& name,
                               google::longrunning::Operation* out) {
  v1::IndexOperationMetadata metadata;
  metadata.set_type(v1::IndexOperationMetadata::TYPE_RETRAIN);
  metadata.set_collection(name.substr(0, name.find("/operations/")));
  metadata.mutable_create_time()->set_seconds(100);
  v1::IndexOperationShard* shard = metadata.add_shards();
  shard->set_shard(1);
  out->set_name(name);
  if (waits > 0) {
    shard->set_stage("training");
    shard->set_rows_done(30);
    shard->set_rows_total(40);
  } else {
    out->set_done(true);
    *out->mutable_error() = BadField("shards", "shard 1 failed");
    metadata.mutable_end_time()->set_seconds(105);
    shard->set_stage("failed");
    shard->set_done(true);
    *shard->mutable_status() = out->error();
  }
  out->mutable_metadata()->PackFrom(metadata);
}

// Done, with a curve of two points; or with an estimate.
inline void WriteFakeTuning(const v1::TuneIndexRequest& request,
                            google::longrunning::Operation* out) {
  v1::IndexOperationMetadata metadata;
  metadata.set_type(v1::IndexOperationMetadata::TYPE_TUNE);
  metadata.set_collection(request.name());
  if (request.validate_only()) metadata.mutable_estimate()->set_rows(10);
  out->set_done(true);
  if (!request.validate_only()) out->set_name(request.name() + "/operations/8");
  v1::TuneIndexResponse tuned;
  v1::TuningPoint* point = tuned.add_points();
  point->set_breadth(3);
  point->set_recall(0.875);
  point->set_recall_error(0.01);
  point->mutable_p50()->set_nanos(1'500);
  point->mutable_p99()->set_seconds(1);
  point->set_rows_scanned(120);
  tuned.add_points()->set_exact(true);
  *tuned.mutable_recommended() = tuned.points(1);
  tuned.set_recall_target(0.95);
  tuned.set_queries(100);
  tuned.set_shards_tuned(2);
  out->mutable_response()->PackFrom(tuned);
  out->mutable_metadata()->PackFrom(metadata);
}

}  // namespace vecino::testing
