# CPU per call of gRPC's asynchronous and callback APIs.
add_executable(rpc_api_bench ${CMAKE_CURRENT_SOURCE_DIR}/rpc_api_bench.cc)
target_link_libraries(rpc_api_bench PRIVATE gRPC::grpc++ Threads::Threads vecino_warnings)
