// A retrain operation as the server tells of it.
#pragma once

#include <google/longrunning/operations.pb.h>
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

}  // namespace vecino::testing
