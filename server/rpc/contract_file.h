// The contract as protoc wrote it down: a serialised google.protobuf.FileDescriptorSet of every
// .proto file and what they import, with the comments. Generated; see contract_file.cmake.
#pragma once

#include <string_view>

namespace vecino::rpc {

std::string_view ContractFile();

}  // namespace vecino::rpc
