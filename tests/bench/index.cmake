# Nanoseconds a row of the index' kernels, at each level that the CPU runs.
add_executable(index_kernels_bench index_kernels_bench.cc)
target_link_libraries(index_kernels_bench PRIVATE vecino_warnings vecino_index benchmark::benchmark)

# AUTO's index beside other libraries: a child of ann_peers.py.
find_package(nlohmann_json CONFIG REQUIRED)
add_executable(index_bench index_bench.cc)
target_link_libraries(index_bench PRIVATE vecino_warnings vecino_index nlohmann_json::nlohmann_json)

# Training beside FAISS.
add_executable(index_training_bench index_training_bench.cc)
target_link_libraries(index_training_bench PRIVATE vecino_warnings vecino_index faiss CLI11::CLI11)

# Whether recall targets are kept, and at what cost.
add_executable(promise_bench promise_bench.cc ${CMAKE_SOURCE_DIR}/tests/server/index/promise.cc)
target_link_libraries(promise_bench PRIVATE vecino_warnings vecino_index)
