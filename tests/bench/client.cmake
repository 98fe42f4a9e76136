# Search latency and throughput over gRPC; end_to_end.py runs it beside the same work in Python.
add_executable(search_bench search_bench.cc)
target_link_libraries(search_bench PRIVATE vecino_warnings vecino_client nlohmann_json::nlohmann_json
                                           CLI11::CLI11)

# The real vecinod over gRPC: ingest, search, updates, retraining, restart.
add_executable(server_bench server_bench.cc server_bench_data.cc server_bench_load.cc
                            server_bench_process.cc server_bench_steps.cc server_bench_updates.cc)
target_link_libraries(server_bench PRIVATE vecino_warnings vecino_proto nlohmann_json::nlohmann_json
                                           CLI11::CLI11 ${VECINO_HTTPLIB})
# As Debian compiled httplib; see server/vecinod.cmake.
target_compile_definitions(server_bench PRIVATE CPPHTTPLIB_OPENSSL_SUPPORT CPPHTTPLIB_ZLIB_SUPPORT
                                                CPPHTTPLIB_BROTLI_SUPPORT)
