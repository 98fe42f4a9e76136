// Which fields of a document an update changes.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/field_mask.pb.h"
#include "google/protobuf/struct.pb.h"
#include "server/engine/types.h"

namespace vecino::rpc {

// The `update_mask` of UpdateDocument: of `text`, `metadata`, `metadata.{field}`, `vector` and
// `expire_time`, or all. A plain value.
class UpdateMask {
 public:
  // INVALID_ARGUMENT naming a path that is none of these.
  static absl::StatusOr<UpdateMask> Read(const google::protobuf::FieldMask& mask);

  // Whether the whole document is replaced: the mask was empty, or `*`.
  bool whole() const { return whole_; }

  // The next version of `current` (null: there is none, so the fields that are not named are
  // empty): the named fields are those of `given`, cleared where it has none. metadata: of the
  // request, for the fields in it. A vector that was made from a text (has_model: whether the
  // collection makes them) goes with that text, and is made anew by the write. INVALID_ARGUMENT
  // when the metadata that comes out is over its limits; DATA_LOSS when what is stored cannot be
  // read.
  absl::StatusOr<engine::DocumentWrite> Apply(const engine::DocumentWrite& given,
                                              const google::protobuf::Struct& metadata,
                                              bool has_model,
                                              const storage::Document* current) const;

 private:
  using Path = std::vector<std::string>;  // keys, from the outermost object in

  absl::Status ApplyMetadata(const google::protobuf::Struct& given, std::string* json) const;

  bool whole_ = false;
  bool text_ = false, metadata_ = false, vector_ = false, expire_time_ = false;
  std::vector<Path> fields_;  // of metadata
};

}  // namespace vecino::rpc
