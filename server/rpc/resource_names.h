// Resource names: `collections/{collection}`, `collections/{collection}/documents/{document}`,
// `collections/{collection}/operations/{operation}`, `aliases/{alias}`, `models/{model}`,
// `snapshots/{snapshot}`, `snapshots/{snapshot}/operations/{operation}`.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vecino::rpc {

struct DocumentName {
  std::string collection;
  std::string document;
};

struct OperationName {
  std::string collection;  // or the id of the snapshot
  std::string operation;
  bool of_snapshot = false;
};

std::string CollectionName(std::string_view collection);
std::string DocumentNameOf(std::string_view collection, std::string_view document);
std::string OperationNameOf(std::string_view collection, std::string_view operation);
std::string ModelName(std::string_view model);
std::string AliasName(std::string_view alias);
std::string SnapshotName(std::string_view snapshot);
std::string SnapshotOperationNameOf(std::string_view snapshot, std::string_view operation);
// Whether a name is meant for a snapshot, or something of it.
bool IsOfSnapshot(std::string_view name);

// All of these fail with INVALID_ARGUMENT naming `field`, saying what the form is.

// 1 to 63 of a-z, 0-9, `-` and `_`, starting with a letter or digit.
absl::Status CheckCollectionId(std::string_view field, std::string_view id);
// 1 to 512 bytes of UTF-8 without NUL.
absl::Status CheckDocumentId(std::string_view field, std::string_view id);

absl::StatusOr<std::string> ParseCollectionName(std::string_view field, std::string_view name);
// The id is everything after `documents/`, slashes included.
absl::StatusOr<DocumentName> ParseDocumentName(std::string_view field, std::string_view name);
// Of a collection or of a snapshot. The id is 1 to 63 of a-z, 0-9 and `-`.
absl::StatusOr<OperationName> ParseOperationName(std::string_view field, std::string_view name);
absl::StatusOr<std::string> ParseAliasName(std::string_view field, std::string_view name);
absl::StatusOr<std::string> ParseSnapshotName(std::string_view field, std::string_view name);
absl::StatusOr<std::string> ParseModelName(std::string_view field, std::string_view name);

}  // namespace vecino::rpc
