//! Sound: Opus, resampling, voice processing and mixing. Samples are bytes of native 16-bit integers, and
//! the interpreter is free while they are worked on.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyOverflowError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes};
use roomful_audio::mix::mix as mix_samples;
use roomful_audio::opus::{self, Application, EncoderConfig, OpusError};
use roomful_audio::processing::{ProcessingConfig, ProcessingError, Processor};
use roomful_audio::resample::{self, Quality, ResampleError};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number, or ValueError as for one that is in the type's range and nothing else.
pub(crate) fn in_range<'py, T>(value: &Bound<'py, PyAny>) -> PyResult<T>
where
    T: FromPyObjectOwned<'py, Error = PyErr>,
{
    value.extract().map_err(|error: PyErr| {
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            PyValueError::new_err(format!("{value} is out of range"))
        } else {
            error
        }
    })
}

/// A trailing odd byte is left out.
pub(crate) fn samples(py: Python<'_>, data: &PyBuffer<u8>) -> PyResult<Vec<i16>> {
    let bytes = data.to_vec(py)?;
    let pairs = bytes.as_chunks().0.iter();
    Ok(pairs.map(|pair| i16::from_ne_bytes(*pair)).collect())
}

fn write_back(py: Python<'_>, data: &PyBuffer<u8>, samples: &[i16]) -> PyResult<()> {
    let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_ne_bytes()).collect();
    data.copy_from_slice(py, &bytes)
}

fn byte_array<'py>(py: Python<'py>, samples: &[i16]) -> PyResult<Bound<'py, PyByteArray>> {
    PyByteArray::new_with(py, samples.len() * 2, |bytes| {
        for (pair, sample) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(samples) {
            *pair = sample.to_ne_bytes();
        }
        Ok(())
    })
}

fn opus_error(error: OpusError) -> PyErr {
    match error {
        OpusError::Library(_) => PyRuntimeError::new_err(error.to_string()),
        _ => PyValueError::new_err(error.to_string()),
    }
}

fn resample_error(error: ResampleError) -> PyErr {
    match error {
        ResampleError::Library(_) => PyRuntimeError::new_err(error.to_string()),
        _ => PyValueError::new_err(error.to_string()),
    }
}

fn processing_error(error: ProcessingError) -> PyErr {
    match error {
        ProcessingError::Library(_) | ProcessingError::Delay(_) => {
            PyRuntimeError::new_err(error.to_string())
        }
        _ => PyValueError::new_err(error.to_string()),
    }
}

#[pyclass(frozen, module = "roomful._core")]
pub(crate) struct OpusEncoder(Mutex<opus::Encoder>);

#[pymethods]
impl OpusEncoder {
    #[new]
    #[pyo3(signature = (
        *, channels = 1, frame_samples = 960, bitrate = None, fec = true, expected_loss = 0, dtx = false,
        application = "voip",
    ))]
    fn new(
        channels: u8,
        frame_samples: usize,
        bitrate: Option<u32>,
        fec: bool,
        expected_loss: u8,
        dtx: bool,
        application: &str,
    ) -> PyResult<Self> {
        let application = match application {
            "voip" => Application::Voip,
            "audio" => Application::Audio,
            "low_delay" => Application::LowDelay,
            other => {
                return Err(PyValueError::new_err(format!(
                    "unknown application {other:?}"
                )));
            }
        };
        let config = EncoderConfig {
            channels,
            frame_samples,
            bitrate,
            fec,
            expected_loss,
            dtx,
            application,
        };
        let encoder = opus::Encoder::new(config).map_err(opus_error)?;
        Ok(Self(Mutex::new(encoder)))
    }

    fn encode<'py>(&self, py: Python<'py>, data: PyBuffer<u8>) -> PyResult<Bound<'py, PyBytes>> {
        let pcm = samples(py, &data)?;
        let packet = py.detach(|| {
            let mut packet = Vec::new();
            lock(&self.0)
                .encode(&pcm, &mut packet)
                .map(|_| packet)
                .map_err(opus_error)
        })?;
        Ok(PyBytes::new(py, &packet))
    }

    #[pyo3(signature = (bitrate))]
    fn set_bitrate(&self, py: Python<'_>, bitrate: Option<u32>) -> PyResult<()> {
        py.detach(|| lock(&self.0).set_bitrate(bitrate).map_err(opus_error))
    }

    fn set_expected_loss(&self, py: Python<'_>, percent: u8) -> PyResult<()> {
        py.detach(|| lock(&self.0).set_expected_loss(percent).map_err(opus_error))
    }
}

#[pyclass(frozen, module = "roomful._core")]
pub(crate) struct OpusDecoder(Mutex<opus::Decoder>);

impl OpusDecoder {
    fn run<'py>(
        &self,
        py: Python<'py>,
        decode: impl FnOnce(&mut opus::Decoder, &mut Vec<i16>) -> Result<usize, OpusError> + Send,
    ) -> PyResult<Bound<'py, PyByteArray>> {
        let pcm = py.detach(|| {
            let mut pcm = Vec::new();
            decode(&mut lock(&self.0), &mut pcm)
                .map(|_| pcm)
                .map_err(opus_error)
        })?;
        byte_array(py, &pcm)
    }
}

#[pymethods]
impl OpusDecoder {
    #[new]
    #[pyo3(signature = (*, channels = 1))]
    fn new(channels: u8) -> PyResult<Self> {
        let decoder = opus::Decoder::new(channels).map_err(opus_error)?;
        Ok(Self(Mutex::new(decoder)))
    }

    fn decode<'py>(&self, py: Python<'py>, packet: &[u8]) -> PyResult<Bound<'py, PyByteArray>> {
        self.run(py, |decoder, out| decoder.decode(packet, out))
    }

    fn decode_fec<'py>(
        &self,
        py: Python<'py>,
        next_packet: &[u8],
        samples: usize,
    ) -> PyResult<Bound<'py, PyByteArray>> {
        self.run(py, |decoder, out| {
            decoder.decode_fec(next_packet, samples, out)
        })
    }

    fn conceal<'py>(&self, py: Python<'py>, samples: usize) -> PyResult<Bound<'py, PyByteArray>> {
        self.run(py, |decoder, out| decoder.conceal(samples, out))
    }
}

#[pyclass(frozen, module = "roomful._core")]
pub(crate) struct Resampler(Mutex<resample::Resampler>);

#[pymethods]
impl Resampler {
    #[new]
    #[pyo3(signature = (input_rate, output_rate, *, channels = 1, quality = "medium"))]
    fn new(
        #[pyo3(from_py_with = in_range)] input_rate: u32,
        #[pyo3(from_py_with = in_range)] output_rate: u32,
        #[pyo3(from_py_with = in_range)] channels: usize,
        quality: &str,
    ) -> PyResult<Self> {
        let quality = match quality {
            "quick" => Quality::Quick,
            "low" => Quality::Low,
            "medium" => Quality::Medium,
            "high" => Quality::High,
            "very_high" => Quality::VeryHigh,
            other => return Err(PyValueError::new_err(format!("unknown quality {other:?}"))),
        };
        resample::Resampler::new(input_rate, output_rate, channels, quality)
            .map(|resampler| Self(Mutex::new(resampler)))
            .map_err(resample_error)
    }

    fn push<'py>(&self, py: Python<'py>, data: PyBuffer<u8>) -> PyResult<Bound<'py, PyByteArray>> {
        let input = samples(py, &data)?;
        let out = py.detach(|| {
            let mut out = Vec::new();
            let result = lock(&self.0).push(&input, &mut out);
            result.map(|()| out).map_err(resample_error)
        })?;
        byte_array(py, &out)
    }

    fn flush<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyByteArray>> {
        let out = py.detach(|| {
            let mut out = Vec::new();
            let result = lock(&self.0).flush(&mut out);
            result.map(|()| out).map_err(resample_error)
        })?;
        byte_array(py, &out)
    }
}

#[pyclass(frozen, module = "roomful._core")]
pub(crate) struct AudioProcessor(Mutex<Processor>);

impl AudioProcessor {
    fn run(
        &self,
        py: Python<'_>,
        data: &PyBuffer<u8>,
        process: impl FnOnce(&mut Processor, &mut [i16]) -> Result<(), ProcessingError> + Send,
    ) -> PyResult<()> {
        let mut pcm = samples(py, data)?;
        py.detach(|| process(&mut lock(&self.0), &mut pcm).map_err(processing_error))?;
        write_back(py, data, &pcm)
    }
}

#[pymethods]
impl AudioProcessor {
    #[new]
    #[pyo3(signature = (
        *, echo_cancellation = false, noise_suppression = false, high_pass_filter = false,
        auto_gain_control = false,
    ))]
    fn new(
        echo_cancellation: bool,
        noise_suppression: bool,
        high_pass_filter: bool,
        auto_gain_control: bool,
    ) -> Self {
        Self(Mutex::new(Processor::new(ProcessingConfig {
            echo_cancellation,
            noise_suppression,
            high_pass_filter,
            auto_gain_control,
        })))
    }

    fn process_stream(
        &self,
        py: Python<'_>,
        data: PyBuffer<u8>,
        sample_rate: u32,
        channels: usize,
    ) -> PyResult<()> {
        self.run(py, &data, |processor, pcm| {
            processor.process_stream(pcm, sample_rate, channels)
        })
    }

    fn process_reverse_stream(
        &self,
        py: Python<'_>,
        data: PyBuffer<u8>,
        sample_rate: u32,
        channels: usize,
    ) -> PyResult<()> {
        self.run(py, &data, |processor, pcm| {
            processor.process_reverse_stream(pcm, sample_rate, channels)
        })
    }

    fn set_stream_delay_ms(&self, py: Python<'_>, delay_ms: i32) -> PyResult<()> {
        py.detach(|| {
            lock(&self.0)
                .set_stream_delay_ms(delay_ms)
                .map_err(processing_error)
        })
    }
}

/// Adds streams up, sample by sample; the result is as long as the longest and saturates.
#[pyfunction]
pub(crate) fn mix<'py>(
    py: Python<'py>,
    streams: Vec<PyBuffer<u8>>,
) -> PyResult<Bound<'py, PyByteArray>> {
    let streams = streams
        .iter()
        .map(|data| samples(py, data))
        .collect::<PyResult<Vec<_>>>()?;
    byte_array(py, &py.detach(|| mix_samples(&streams)))
}
