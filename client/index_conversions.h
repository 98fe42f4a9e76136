// Index policies, figures and operations: the client's plain values to and from the contract's.
#pragma once

#include <google/longrunning/operations.pb.h>
#include <vecino/v1/collection.pb.h>

#include <string>
#include <string_view>

#include "client/vecino/client.h"

namespace vecino::internal {

// Of Collection::index_kind, for messages: "auto, flat, ...".
std::string IndexKinds();
// Whether `kind` is one of them, or empty.
bool IsIndexKind(std::string_view kind);

// Kind, recall target and parameters. The kind must be one of IndexKinds, or empty.
void IndexToProto(const Collection& collection, v1::IndexPolicy* message);
void IndexFromProto(const v1::IndexPolicy& message, Collection* collection);

CollectionStats FromProto(const v1::CollectionStats& message);
Operation FromProto(const google::longrunning::Operation& message);

}  // namespace vecino::internal
