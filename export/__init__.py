"""ONNX and TensorRT export."""
